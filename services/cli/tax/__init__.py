"""`crossborder tax …`: assessments, rules, rates, exports and rebates."""
