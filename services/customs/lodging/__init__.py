"""Lodging of collective declarations: batches, pauses and trials."""
