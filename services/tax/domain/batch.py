"""A batch of events decided one by one, each on top of those before it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from services.tax.domain.case import TaxCase, decide, quota_key_of
from services.tax.domain.ledger import PersonYear, Quota, QuotaEntry, WeightEntry
from services.tax.domain.record import Record
from services.tax.rulebook.book import Rulebook
from shared.events.base import Event
from shared.events.orders import OrderPlaced
from shared.events.tax import (
    TaxAssessed,
    TaxEvent,
)


class BatchDecision(NamedTuple):
    """The cases and quotas after a batch, the published events by input, and all ledger entries.

    `records` has the inputs of the batch's assessments by order. `weighed` is the ledger of
    weights.
    """

    cases: Mapping[UUID, TaxCase]
    quotas: Mapping[PersonYear, Quota]
    facts: Sequence[tuple[TaxEvent, ...]]
    entries: Sequence[QuotaEntry]
    records: Mapping[UUID, Record]
    weighed: Sequence[WeightEntry] = ()


def decide_all(
    cases: Mapping[UUID, TaxCase],
    quotas: Mapping[PersonYear, Quota],
    events: Sequence[Event],
    rules: Rulebook,
    assessed: Mapping[UUID, TaxAssessed] | None = None,
) -> BatchDecision:
    """Decide a batch in its order, so that orders of one person see each other's reservations.

    `assessed` has the assessments of the orders whose goods came back. The caller has locked the
    rows of `quotas`: those of `quota_key_of` every placed order and of every case's `quota_key`. A
    person without a row has used nothing.
    """
    cases, quotas = dict(cases), dict(quotas)
    facts: list[tuple[TaxEvent, ...]] = []
    entries: list[QuotaEntry] = []
    records: dict[UUID, Record] = {}
    weighed: list[WeightEntry] = []
    for event in events:
        key = quota_key_of(event) if isinstance(event, OrderPlaced) else None
        used = Quota() if key is None else quotas.get(key, Quota())
        published = (assessed or {}).get(event.order_id)
        followed = decide(
            cases.get(event.order_id), event, used.used, rules, published, used.used_kg
        )
        cases[event.order_id] = followed.case
        for entry in followed.entries:
            quotas[entry.key] = entry.apply(quotas.get(entry.key, Quota()))
        for taken in followed.weighed:
            quotas[taken.key] = taken.apply(quotas.get(taken.key, Quota()))
        entries += followed.entries
        weighed += followed.weighed
        if followed.record is not None:
            records[event.order_id] = followed.record
        facts.append(followed.facts)
    return BatchDecision(cases, quotas, facts, entries, records, weighed)
