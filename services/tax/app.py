"""Runs the tax service."""

from __future__ import annotations

from typing import Any

from services.tax import rulefiles
from services.tax.invariants import INVARIANTS
from services.tax.reactions import HEARS, Deps, observe
from shared import topics
from shared.sealing import Sealing
from shared.service import Wiring, main
from shared.settings import Settings


async def wire(settings: Settings, _pool: Any) -> Wiring:
    """The tax service of these settings; its rules are read and checked once, here."""
    sealing = Sealing.from_dir(settings.keys_dir)
    return Wiring("tax", topics.TAX, HEARS, Deps(rulefiles.load()), sealing, observe=observe, invariants=INVARIANTS)


if __name__ == "__main__":
    main("tax", Settings, wire)
