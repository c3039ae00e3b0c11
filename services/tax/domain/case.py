"""The tax case of an order: its assessment, and the share of the buyer's yearly quota it holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final, NamedTuple
from uuid import UUID

from services.tax.domain import weights
from services.tax.domain.assessed_event import assessed_event
from services.tax.domain.assessment import NOTHING, Assessable, Assessment, Refusal, assess
from services.tax.domain.ledger import EntryKind, PersonYear, QuotaEntry, WeightEntry
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
    TaxPosted,
    TaxRefused,
    TaxRestored,
    TaxVoided,
)
from shared.money import Money
from shared.transitions import IllegalTransition, Transitions
from shared.values import replace


class TaxState(StrEnum):
    """Where an order's assessment stands."""

    ASSESSED = "assessed"
    REFUSED = "refused"
    VOIDED = "voided"
    POSTED = "posted"
    RESTORED = "restored"


TAX: Final = Transitions(
    {
        # Voided before it was placed: the order was undone first, so nothing is assessed.
        (TaxState.VOIDED, OrderPlaced): TaxState.VOIDED,
        (TaxState.ASSESSED, OrderUnwinding): TaxState.VOIDED,
        (TaxState.REFUSED, OrderUnwinding): TaxState.VOIDED,
        (TaxState.ASSESSED, GoodsReleased): TaxState.POSTED,
        # Released goods came back, all or some, in time or late.
        # The return may arrive before the release: orders may know of the release first.
        (TaxState.ASSESSED, ReturnAccepted): TaxState.POSTED,
        (TaxState.POSTED, ReturnAccepted): TaxState.POSTED,
        # All goods are back and none came late, so nothing is owed any more.
        (TaxState.POSTED, TaxRestored): TaxState.RESTORED,
        (TaxState.POSTED, GoodsReleased): TaxState.POSTED,
        # Release and end of the order arrive on two topics, so the release may be the last.
        (TaxState.REFUSED, GoodsReleased): TaxState.REFUSED,
        (TaxState.VOIDED, GoodsReleased): TaxState.VOIDED,
        (TaxState.RESTORED, GoodsReleased): TaxState.RESTORED,
    }
)
"""An order's first event makes its case and is not in the table."""


@dataclass(frozen=True)
class TaxCase:
    """An order's assessment, and what it holds of the buyer's year.

    `reserved` is its share of the yearly quota now, reserved or posted; `weights` the same of the
    yearly weights. `total` is what is payable, less the tax on goods that came back in time.
    `version` counts the events published about it.
    """

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
        if self.person_ref is None or self.year is None:
            return None
        return PersonYear(self.person_ref, self.year)


class CaseDecision(NamedTuple):
    """The case after an event, the events that tax publishes, and the entries of the quota ledger.

    `record` holds the inputs of an assessment made by this event. `weighed` goes into the ledger of
    weights.
    """

    case: TaxCase
    facts: tuple[TaxEvent, ...] = ()
    entries: tuple[QuotaEntry, ...] = ()
    record: Record | None = None
    weighed: tuple[WeightEntry, ...] = ()


def quota_key_of(event: OrderPlaced) -> PersonYear:
    """Return the quota an order may draw on; its row is locked before the decision."""
    return PersonYear(event.buyer.person_ref, beijing_date(event.counts_at).year)


def decide(
    case: TaxCase | None,
    event: Event,
    used: Money,
    rules: Rulebook,
    assessed: TaxAssessed | None = None,
    used_kg: Mapping[str, Decimal] = NOTHING,
) -> CaseDecision:
    """Decide what an event does to an order's case.

    `used` and `used_kg` are the buyer's year so far, for an order being placed. `assessed` is the
    published assessment, for goods that came back. Raises IllegalTransition for an event that may
    not happen, such as the release of an unknown order.
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
    case = TaxCase(
        order_id=event.order_id,
        state=TaxState.ASSESSED,
        version=1,
        person_ref=person_ref,
        year=year,
        regime=result.regime,
        reserved=result.counted or none,
        total=result.payable,
        weights=weights.hold(result.weighed),
    )
    reserve = EntryKind.RESERVE
    assessed = (assessed_event(event.order_id, result, key),)
    return CaseDecision(case, assessed, _entry(case, reserve), record, _weights(case, reserve))


def _voided(case: TaxCase, state: TaxState) -> CaseDecision:
    none = Money.zero(case.reserved.currency)
    after = replace(
        case,
        state=state,
        version=case.version + 1,
        reserved=none,
        weights=weights.free(case.weights),
    )
    void = EntryKind.VOID
    return CaseDecision(
        after,
        (TaxVoided(order_id=case.order_id),),
        _entry(case, void),
        weighed=_weights(case, void),
    )


def _given_back(case: TaxCase, event: ReturnAccepted, assessed: TaxAssessed | None) -> CaseDecision:
    """Restore the buyer's year and levy no tax on goods back in time; goods back late change
    neither.

    Source: GACC 2020 No. 45, art. 3.
    """
    assert assessed is not None, "only what was assessed is released"
    if case.state is TaxState.ASSESSED:  # what came back was released
        posted = _posted(case, TaxState.POSTED)
        back = _given_back(posted.case, event, assessed)
        entries, weighed = posted.entries + back.entries, posted.weighed + back.weighed
        return CaseDecision(back.case, posted.facts + back.facts, entries, weighed=weighed)
    value, tax = belongs_to(assessed, event.lines)
    owed = Money(tax, case.total.currency)
    if not event.in_time:
        late = TaxKept(order_id=case.order_id, return_no=event.return_no, total=owed)
        return CaseDecision(replace(case, version=case.version + 1), (late,))
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
    stays, back = weights.give_back(case.weights, event.lines)
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
    entries, weighed = _entry(gives, kind, part=part), _weights(gives, kind, part=part)
    return CaseDecision(after, (fact,), entries, weighed=weighed)


def _entry(case: TaxCase, kind: EntryKind, *, part: int = 0) -> tuple[QuotaEntry, ...]:
    key, held = case.quota_key, case.reserved.minor
    return () if key is None or held == 0 else (QuotaEntry(key, case.order_id, kind, held, part),)


def _weights(case: TaxCase, kind: EntryKind, *, part: int = 0) -> tuple[WeightEntry, ...]:
    key = case.quota_key
    if key is None or not case.weights:
        return ()
    return tuple(
        WeightEntry(key, case.order_id, w.line_no, w.hs, kind, w.held_mg, part)
        for w in case.weights
        if w.held_mg
    )
