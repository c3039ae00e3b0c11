"""The pages of docs/ that are written from the code's own tables, so that they cannot say anything else."""
