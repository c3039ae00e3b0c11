"""`crossborder dlq …`: dead letters."""
