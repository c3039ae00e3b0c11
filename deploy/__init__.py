"""How crossborder is run: the embedded stack, the sandboxes, the images."""
