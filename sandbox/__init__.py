"""The outside parties: bank, carrier and customs authority, one process that knows no service's code.

It speaks with the services only over the wire and decides on a code path of its own, so that it can disagree.
What it answered it keeps in SQLite files, which `crossborder verify` reads as the independent witness.
"""
