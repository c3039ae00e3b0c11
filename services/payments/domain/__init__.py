"""What payments decides: what is asked of the bank, what its answers mean, what is undone. Pure."""
