"""What the services must agree on, and plumbing none of them should own; it knows no service."""
