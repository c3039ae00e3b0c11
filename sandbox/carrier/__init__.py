"""The carrier as an outside party."""
