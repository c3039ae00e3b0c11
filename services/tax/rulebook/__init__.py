"""The tax rules: rows of the rule files, compiled for one day."""
