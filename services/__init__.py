"""The four services and the command."""
