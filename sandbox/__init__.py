"""The outside parties: bank, carrier and customs authority, simulated in one process.

The sandbox imports no service. It decides on a code path of its own, so that it can disagree.
Its answers are stored in SQLite files, which `crossborder verify` reads as independent records.
"""
