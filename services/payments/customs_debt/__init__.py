"""The tax owed to customs: debts, their ledger and the deposit."""
