"""`crossborder customs …`: the match, messages, notices, summaries and cases of customs."""
