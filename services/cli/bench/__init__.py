"""`crossborder bench`: throughput, cost and the limits of broker and database."""
