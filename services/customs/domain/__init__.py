"""What customs decides: which documents match, and what follows from a reply. Pure."""
