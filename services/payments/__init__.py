"""Captures what the buyer agreed to pay, keeps it in the books, and settles or gives it back."""
