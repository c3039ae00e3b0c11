"""What customs decides: which documents match, what becomes of a list. Pure."""
