"""Consolidation of released export lists into monthly declarations (CEB701, CEB792)."""
