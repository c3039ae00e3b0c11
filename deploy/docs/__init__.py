"""Writes the pages of docs/ that follow from the code's own tables."""
