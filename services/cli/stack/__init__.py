"""`crossborder up`, `down`, `status`, `restart`: the stack and its one-shot jobs."""
