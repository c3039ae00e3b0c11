"""`crossborder demo`: orders of every kind through the whole stack."""
