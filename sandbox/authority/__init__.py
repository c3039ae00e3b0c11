"""The customs authority as an outside party."""
