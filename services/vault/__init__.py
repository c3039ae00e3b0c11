"""The persons' keys: a schema of its own, readable only by the roles that must print a document."""
