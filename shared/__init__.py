"""Agreements and plumbing that all services share; nothing here imports a service."""
