"""`crossborder payments …`: cases with the bank."""
