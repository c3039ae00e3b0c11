"""Landed cost: what a destination charges on a consignment."""
