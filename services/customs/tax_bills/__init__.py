"""Tax bills of the authority: stored as they arrive, published after the release."""
