"""Start the tax service."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from pydantic import Field

from services.tax.bills.handlers import Billing, open_overdue_cases, settle_and_hand_over
from services.tax.bills.terms import DAY_S
from services.tax.deps import Deps
from services.tax.handlers import SUBSCRIPTIONS, TAX_KINDS
from services.tax.invariants import INVARIANTS
from services.tax.metrics import gauges, observe
from services.tax.rule_reload import RunningRules
from services.tax.rulebook import files as rule_files
from shared import metrics, topics
from shared.sealing import Sealing
from shared.service import Timer, Wiring, main
from shared.settings import Settings

LAPSES_PER_DAY: Final = 24
"""Searches for missing and overdue bills in each policy day: a search reads all tax cases."""


class TaxSettings(Settings):
    """Settings of the tax service."""

    day_s: float = Field(
        DAY_S,
        gt=0,
        le=DAY_S,
        description="seconds a calendar day lasts in the periods of tax bills; less than 86400 "
        "only to rehearse",
    )
    rules_dir: Path | None = Field(
        None,
        description="the folder of the tax rule files, those of the release if not given; a "
        "changed set is taken if all of it is good",
    )
    rules_every_s: float = Field(
        5.0, gt=0, le=3600, description="how often that folder is checked for changes, in seconds"
    )
    bills_every_s: float = Field(
        1.0, gt=0, le=3600, description="how often due tax bills are searched for, in seconds"
    )


QUOTA_CODES: Final = ("1313", "-621005")
"""The codes of the yearly limit and of the limit of an order; other refusals get a label when they
first happen."""


async def wire(settings: TaxSettings, pool: Any) -> Wiring:
    sealing = Sealing.from_dir(settings.keys_dir)
    running = RunningRules(settings.rules_dir or rule_files.RULES, pool)
    rules = await running.begin()
    metrics.TAX_ASSESSED.begin(TAX_KINDS, sorted({regime.id for regime in rules.regimes}))
    metrics.QUOTA_REFUSALS.begin(QUOTA_CODES)
    deps = Deps(rules, Billing(day_s=settings.day_s))
    timers = (
        Timer("bills", settings.bills_every_s, settle_and_hand_over),
        Timer("lapses", max(1.0, settings.day_s / LAPSES_PER_DAY), open_overdue_cases),
    )
    following = asyncio.create_task(running.follow(deps, settings.rules_every_s))
    return Wiring(
        "tax",
        topics.TAX,
        SUBSCRIPTIONS,
        deps,
        sealing,
        observe=observe,
        timers=timers,
        gauges=gauges,
        invariants=INVARIANTS,
        closing=[_ending(following)],
    )


def _ending(task: asyncio.Task[None]) -> Callable[[], Awaitable[None]]:
    async def end() -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    return end


if __name__ == "__main__":
    main("tax", TaxSettings, wire)
