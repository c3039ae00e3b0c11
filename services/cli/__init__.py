"""The one command, `crossborder …`: what a person or a script asks of a running stack."""
