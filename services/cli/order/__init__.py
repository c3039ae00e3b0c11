"""`crossborder order …`: one order, and what a person can do about it."""
