"""Which demands the deposit at customs covers."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from shared.money import Money

Demand = tuple[UUID, Money]
"""An order and the tax to reserve for it."""


def cover(free: Money, demands: Sequence[Demand]) -> tuple[list[Demand], list[Demand]]:
    """Split demands into those that fit into the free deposit and those that wait.

    The oldest come first: all demands behind one that does not fit wait, however small.
    """
    for at, (_, amount) in enumerate(demands):
        if amount.minor > free.minor:
            return list(demands[:at]), list(demands[at:])
        free -= amount
    return list(demands), []
