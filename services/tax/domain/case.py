"""What becomes of an order's assessment, and of the buyer's yearly quota with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final, NamedTuple
from uuid import UUID

from services.tax.domain import weights
from services.tax.domain.assessment import NOTHING, Assessable, Assessment, Refusal, assess
from services.tax.domain.ledger import EntryKind, PersonYear, Quota, QuotaEntry, WeightEntry
from services.tax.domain.record import Record
from services.tax.domain.returns import belongs_to
from services.tax.domain.weights import LineWeight
from services.tax.rulebook.book import Rulebook
from shared.clock import beijing_date
from shared.events.base import Event
from shared.events.customs import GoodsReleased
from shared.events.orders import OrderPlaced, OrderUnwinding, ReturnAccepted
from shared.events.tax import (
    TaxAssessed,
    TaxEvent,
    TaxKept,
    TaxLine,
    TaxPosted,
    TaxRefused,
    TaxRestored,
    TaxVoided,
)
from shared.money import Money
from shared.transitions import IllegalTransition, Transitions
from shared.values import replace

__all__ = [
    "BatchDecision",
    "CaseDecision",
    "EntryKind",
    "PersonYear",
    "Quota",
    "QuotaEntry",
    "TaxCase",
    "TaxState",
    "WeightEntry",
    "decide",
    "decide_all",
    "quota_key_of",
]


class TaxState(StrEnum):
    """Where an order's assessment stands."""

    ASSESSED = "assessed"
    REFUSED = "refused"
    VOIDED = "voided"
    POSTED = "posted"
    RESTORED = "restored"


TAX: Final = Transitions(
    {
        # Voided before it was placed: the order was undone first, so there is nothing to assess any more.
        (TaxState.VOIDED, OrderPlaced): TaxState.VOIDED,
        (TaxState.ASSESSED, OrderUnwinding): TaxState.VOIDED,
        (TaxState.REFUSED, OrderUnwinding): TaxState.VOIDED,
        (TaxState.ASSESSED, GoodsReleased): TaxState.POSTED,
        # Released goods came back, all or some, in time or late; of the release orders may have heard first.
        (TaxState.ASSESSED, ReturnAccepted): TaxState.POSTED,
        (TaxState.POSTED, ReturnAccepted): TaxState.POSTED,
        # Said where with this nothing is owed any more: all goods are back and none came late.
        (TaxState.POSTED, TaxRestored): TaxState.RESTORED,
        (TaxState.POSTED, GoodsReleased): TaxState.POSTED,
        # The release and the end of the order come by two topics, so the release may come last.
        (TaxState.REFUSED, GoodsReleased): TaxState.REFUSED,
        (TaxState.VOIDED, GoodsReleased): TaxState.VOIDED,
        (TaxState.RESTORED, GoodsReleased): TaxState.RESTORED,
    }
)
"""An order's first event makes its case and is not in the table."""


@dataclass(frozen=True)
class TaxCase:
    """An order's assessment: `reserved` is what it holds of the buyer's yearly quota now, reserved or posted;
    `total` is what it owes: what is payable, less what is not levied because the goods came back in time. `version` counts the facts said
    about it. `weights` is what it holds of the year's weights in the same way."""

    order_id: UUID
    state: TaxState
    version: int
    person_ref: UUID | None
    year: int | None
    regime: str | None
    reserved: Money
    total: Money
    weights: tuple[LineWeight, ...] = ()

    @property
    def quota_key(self) -> PersonYear | None:
        """Whose quota it holds, None where the regime has none."""
        return (
            None
            if self.person_ref is None or self.year is None
            else PersonYear(self.person_ref, self.year)
        )


class CaseDecision(NamedTuple):
    """The case after an event, what tax says of it, and what it writes into the ledger of the buyer's year.

    `record` is what an assessment made by this event was worked out from; `weighed` goes into the ledger of weights.
    """

    case: TaxCase
    facts: tuple[TaxEvent, ...] = ()
    entries: tuple[QuotaEntry, ...] = ()
    record: Record | None = None
    weighed: tuple[WeightEntry, ...] = ()


def quota_key_of(event: OrderPlaced) -> PersonYear:
    """The quota an order may draw on; its row is to be locked before the order is followed."""
    return PersonYear(event.buyer.person_ref, beijing_date(event.counts_at).year)


def decide(
    case: TaxCase | None, event: Event, used: Money, rules: Rulebook, assessed: TaxAssessed | None = None,
    used_kg: Mapping[str, Decimal] = NOTHING,
) -> CaseDecision:  # fmt: skip
    """Fold one event into an order's case; `used` and `used_kg` are the buyer's year so far and matter to an order being placed,
    `assessed` is its assessment as published and matters to goods that came back.

    Raises IllegalTransition for what may not happen, a release of an order that tax never heard of included.
    """
    if case is None:
        return _first(event, used, rules, used_kg)
    state = TAX.next(case.state, event)
    if isinstance(event, ReturnAccepted):
        return _given_back(case, event, assessed)
    if state == case.state:
        return CaseDecision(case)
    return _voided(case, state) if isinstance(event, OrderUnwinding) else _posted(case, state)


def _posted(case: TaxCase, state: TaxState) -> CaseDecision:
    posted = replace(case, state=state, version=case.version + 1)
    return CaseDecision(
        posted,
        (TaxPosted(order_id=case.order_id, total=case.total),),
        _entry(case, EntryKind.POST),
        weighed=_weights(case, EntryKind.POST),
    )


def _first(
    event: Event, used: Money, rules: Rulebook, used_kg: Mapping[str, Decimal]
) -> CaseDecision:
    if isinstance(event, OrderPlaced):
        record = Record(
            Assessable.of(event), beijing_date(event.counts_at), used, rules.edition, used_kg
        )
        return _placed(event, assess(record.order, record.on, used, rules, used_kg), record)
    if isinstance(event, OrderUnwinding):
        none = Money.zero("CNY")
        tombstone = TaxCase(event.order_id, TaxState.VOIDED, 1, None, None, None, none, none)
        return CaseDecision(tombstone, (TaxVoided(order_id=event.order_id),))
    raise IllegalTransition("unknown", type(event))


def _placed(event: OrderPlaced, result: Assessment | Refusal, record: Record) -> CaseDecision:
    none = Money.zero(event.currency)
    if isinstance(result, Refusal):
        refused = TaxCase(
            event.order_id, TaxState.REFUSED, 1, None, None, result.regime, none, none
        )
        fact = TaxRefused(
            order_id=event.order_id,
            code=result.code,
            reason=result.reason,
            limit=result.limit,
            value=result.value,
        )
        return CaseDecision(refused, (fact,), (), record)
    key = None if result.counted is None else quota_key_of(event)
    person_ref, year = (None, None) if key is None else key
    held = weights.held(result.weighed)
    case = TaxCase(
        event.order_id,
        TaxState.ASSESSED,
        1,
        person_ref,
        year,
        result.regime,
        result.counted or none,
        result.payable,
        held,
    )
    return CaseDecision(
        case,
        (_assessed(case, result),),
        _entry(case, EntryKind.RESERVE),
        record,
        _weights(case, EntryKind.RESERVE),
    )


def _assessed(case: TaxCase, result: Assessment) -> TaxAssessed:
    currency = result.total.currency
    lines = tuple(
        TaxLine(line_no=x.line_no, dutiable_value=Money(x.dutiable_value, currency), duty=Money(x.duty, currency),
                consumption_tax=Money(x.consumption_tax, currency), vat=Money(x.vat, currency))
        for x in result.lines
    )  # fmt: skip
    return TaxAssessed(
        order_id=case.order_id, regime=result.regime, dutiable_value=result.dutiable_value, duty=result.duty,
        consumption_tax=result.consumption_tax, vat=result.vat, parcel_tax=result.parcel_tax, total=result.total,
        lines=lines, rules=result.rules, person_ref=case.person_ref, year=case.year,
        payable=None if result.payable == result.total else result.payable,
    )  # fmt: skip


def _voided(case: TaxCase, state: TaxState) -> CaseDecision:
    none = Money.zero(case.reserved.currency)
    after = replace(
        case,
        state=state,
        version=case.version + 1,
        reserved=none,
        weights=weights.freed(case.weights),
    )
    void = EntryKind.VOID
    return CaseDecision(
        after,
        (TaxVoided(order_id=case.order_id),),
        _entry(case, void),
        weighed=_weights(case, void),
    )


def _given_back(case: TaxCase, event: ReturnAccepted, assessed: TaxAssessed | None) -> CaseDecision:
    """In time: no tax is levied on the goods and their dutiable value is restored to the buyer's year; late: neither
    (GACC 2020 No. 45, art. 3)."""
    assert assessed is not None, "only what was assessed is released"
    if case.state is TaxState.ASSESSED:  # what came back was released
        posted = _posted(case, TaxState.POSTED)
        back = _given_back(posted.case, event, assessed)
        entries, weighed = posted.entries + back.entries, posted.weighed + back.weighed
        return CaseDecision(back.case, posted.facts + back.facts, entries, weighed=weighed)
    value, tax = belongs_to(assessed, event.lines)
    owed = Money(tax, case.total.currency)
    if not event.in_time:
        kept = TaxKept(order_id=case.order_id, return_no=event.return_no, total=owed)
        return CaseDecision(replace(case, version=case.version + 1), (kept,))
    return _restored(
        case, event, owed, Money(value if case.quota_key else 0, case.reserved.currency)
    )


def _restored(case: TaxCase, event: ReturnAccepted, owed: Money, quota: Money) -> CaseDecision:
    remaining = case.total - owed
    fact = TaxRestored(
        order_id=case.order_id,
        return_no=event.return_no,
        total=owed,
        quota=quota,
        remaining=remaining,
    )
    stays, back = weights.given_back(case.weights, event.lines)
    after = replace(
        case,
        version=case.version + 1,
        reserved=case.reserved - quota,
        total=remaining,
        weights=stays,
    )
    if event.whole and not after.reserved.minor and not remaining.minor:
        after = replace(after, state=TAX.next(case.state, fact))
    gives, kind, part = (
        replace(case, reserved=quota, weights=back),
        EntryKind.RESTORE,
        event.return_no,
    )
    return CaseDecision(
        after, (fact,), _entry(gives, kind, part=part), weighed=_weights(gives, kind, part=part)
    )


def _entry(case: TaxCase, kind: EntryKind, *, part: int = 0) -> tuple[QuotaEntry, ...]:
    """The ledger's line about what the case holds, none where it holds nothing."""
    key, held = case.quota_key, case.reserved.minor
    return () if key is None or held == 0 else (QuotaEntry(key, case.order_id, kind, held, part),)


def _weights(case: TaxCase, kind: EntryKind, *, part: int = 0) -> tuple[WeightEntry, ...]:
    """The same of the weights it holds, line by line."""
    key = case.quota_key
    if key is None or not case.weights:
        return ()
    return tuple(
        WeightEntry(key, case.order_id, w.line_no, w.hs, kind, w.held_mg, part)
        for w in case.weights
        if w.held_mg
    )


class BatchDecision(NamedTuple):
    """The cases and quotas after a batch, per event of the batch what tax says, and all that goes into the ledgers.

    `records` are those of the assessments the batch made, by order; `weighed` is the ledger of weights.
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
    """Fold a batch in its order, so that several orders of one person see each other's reservations.

    `assessed` has the assessments of the orders of which goods came back.

    The rows of `quotas` must be locked by the caller: those of `quota_key_of` every placed order and of every case's
    `quota_key`. A person without a row has used nothing.
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
