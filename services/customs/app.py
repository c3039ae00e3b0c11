"""The customs service: its settings, timers and wiring."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from pydantic import Field

from services.customs import match_input, policy_file
from services.customs import metrics as customs_metrics
from services.customs.cases import KINDS
from services.customs.ceb.sign import Signer
from services.customs.consolidation.months import DAY_S
from services.customs.consolidation.publication import PUBLISH_EVERY_S, publish_pending
from services.customs.consolidation.requests import make_requests
from services.customs.consolidation.terms import ConsolidationRules
from services.customs.contradiction_cases import REVIEW_EVERY_S, review_cases
from services.customs.deps import Deps
from services.customs.expired_returns import EVERY_S, give_up_returns
from services.customs.gateway import Authority
from services.customs.handlers import SUBSCRIPTIONS
from services.customs.invariants import INVARIANTS
from services.customs.lodging.timer import lodge_due
from services.customs.tax_bills.timer import announce_bills
from shared import topics
from shared.sealing import Sealing
from shared.service import Timer, Wiring, main
from shared.settings import Settings

BILLS_EVERY_S: Final = 0.5
"""Tax bills arrive days after the release, so half a second is soon enough. An idle turn reads one
small index.
"""


class CustomsSettings(Settings):
    """Settings of customs beside those of every service."""

    customs_policy: Path | None = Field(
        None, description="the declarant's policy file; by default the one that comes along"
    )
    day_s: float = Field(
        DAY_S,
        gt=0,
        le=DAY_S,
        description=(
            "seconds a calendar day lasts in the periods of tax bills; less than 86400 only to "
            "rehearse"
        ),
    )
    lodge_every_s: float = Field(
        0.1, gt=0, le=60, description="how often open batches are looked at, in seconds"
    )


async def wire(settings: CustomsSettings, _pool: Any) -> Wiring:
    customs_metrics.begin()
    rules = policy_file.load(settings.customs_policy)
    authority = Authority(rules, Signer.from_dir(settings.keys_dir))
    consolidation = ConsolidationRules(rules, settings.day_s)
    deps = Deps(
        sealing=Sealing.from_dir(settings.keys_dir),
        authority=authority,
        match=match_input.mismatches,
        policy=rules.rules,
        consolidation=consolidation,
    )
    timers = (
        Timer("lodge", settings.lodge_every_s, lodge_due),
        Timer("bills", BILLS_EVERY_S, announce_bills),
        Timer("returns", EVERY_S, give_up_returns),
        Timer("cases", REVIEW_EVERY_S, review_cases),
        Timer("summaries", consolidation.every_s, make_requests),
        Timer("summary words", PUBLISH_EVERY_S, publish_pending),
    )
    return Wiring(
        "customs",
        topics.CUSTOMS,
        SUBSCRIPTIONS,
        deps,
        deps.sealing,
        observe=customs_metrics.observe,
        gauges=customs_metrics.gauges(rules.batching.age_s, consolidation),
        timers=timers,
        invariants=INVARIANTS,
        case_kinds=KINDS,
    )


if __name__ == "__main__":
    main("customs", CustomsSettings, wire)
