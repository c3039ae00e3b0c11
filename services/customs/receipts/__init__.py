"""Receipts of the authority: decoded, applied to the lists they are about, and stored."""
