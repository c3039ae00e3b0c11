"""The bank as an outside party."""
