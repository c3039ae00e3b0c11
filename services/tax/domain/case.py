"""What becomes of an order's assessment, and of the buyer's yearly quota with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple
from uuid import UUID

from services.tax.domain.assessment import Assessable, Assessment, Refusal, assess, beijing_date
from services.tax.domain.record import Record
from services.tax.domain.returns import belongs_to
from services.tax.domain.rulebook import Rulebook
from shared.events.base import Event
from shared.events.customs import GoodsReleased
from shared.events.orders import OrderPlaced, OrderUnwinding, ReturnAccepted
from shared.events.tax import TaxAssessed, TaxEvent, TaxKept, TaxLine, TaxPosted, TaxRefused, TaxRestored, TaxVoided
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


class PersonYear(NamedTuple):
    """A buyer's calendar year, Beijing time: what a quota is kept by."""

    person_ref: UUID
    year: int


class Quota(NamedTuple):
    """What of a yearly limit open orders have reserved and released ones have used, in fen."""

    reserved_minor: int = 0
    posted_minor: int = 0

    @property
    def used(self) -> Money:
        return Money(self.reserved_minor + self.posted_minor, "CNY")


class EntryKind(StrEnum):
    """Why a quota changes. Each at most once per order, but for an order that is given back in parts."""

    RESERVE = "reserve"
    POST = "post"
    VOID = "void"
    RESTORE = "restore"


_MOVES: Final[dict[EntryKind, tuple[int, int]]] = {
    EntryKind.RESERVE: (+1, 0),
    EntryKind.POST: (-1, +1),
    EntryKind.VOID: (-1, 0),
    EntryKind.RESTORE: (0, -1),
}
"""What an entry's amount does to what is reserved and to what is used; store.py says the same to PostgreSQL."""


class QuotaEntry(NamedTuple):
    """One line of the ledger of a person's year: an order's amount in fen, always more than none.

    `part` is 0, but for what is restored: there it counts the order's returns from 1.
    """

    key: PersonYear
    order_id: UUID
    kind: EntryKind
    amount_minor: int
    part: int = 0

    def apply(self, quota: Quota) -> Quota:
        reserved, posted = _MOVES[self.kind]
        return Quota(quota.reserved_minor + reserved * self.amount_minor, quota.posted_minor + posted * self.amount_minor)


@dataclass(frozen=True)
class TaxCase:
    """An order's assessment: `reserved` is what it holds of the buyer's yearly quota now, reserved or posted;
    `total` is what it owes, less what is not levied because the goods came back in time. `version` counts the facts said
    about it."""

    order_id: UUID
    state: TaxState
    version: int
    person_ref: UUID | None
    year: int | None
    regime: str | None
    reserved: Money
    total: Money

    @property
    def quota_key(self) -> PersonYear | None:
        """Whose quota it holds, None where the regime has none."""
        return None if self.person_ref is None or self.year is None else PersonYear(self.person_ref, self.year)


class Followed(NamedTuple):
    """The case after an event, what tax says of it, and what it writes into the ledger of the buyer's year.

    `record` is what an assessment made by this event was worked out from.
    """

    case: TaxCase
    facts: tuple[TaxEvent, ...] = ()
    entries: tuple[QuotaEntry, ...] = ()
    record: Record | None = None


def quota_key_of(event: OrderPlaced) -> PersonYear:
    """The quota an order may draw on; its row is to be locked before the order is followed."""
    return PersonYear(event.buyer.person_ref, beijing_date(event.placed_at).year)


def follow(case: TaxCase | None, event: Event, used: Money, rules: Rulebook, assessed: TaxAssessed | None = None) -> Followed:
    """Fold one event into an order's case; `used` is the buyer's year so far and matters to an order being placed,
    `assessed` is its assessment as published and matters to goods that came back.

    Raises IllegalTransition for what may not happen, a release of an order that tax never heard of included.
    """
    if case is None:
        return _first(event, used, rules)
    state = TAX.next(case.state, event)
    if isinstance(event, ReturnAccepted):
        return _given_back(case, event, assessed)
    if state == case.state:
        return Followed(case)
    return _voided(case, state) if isinstance(event, OrderUnwinding) else _posted(case, state)


def _posted(case: TaxCase, state: TaxState) -> Followed:
    posted = replace(case, state=state, version=case.version + 1)
    return Followed(posted, (TaxPosted(order_id=case.order_id, total=case.total),), _entry(case, EntryKind.POST))


def _first(event: Event, used: Money, rules: Rulebook) -> Followed:
    if isinstance(event, OrderPlaced):
        record = Record(Assessable.of(event), beijing_date(event.placed_at), used, rules.edition)
        return _placed(event, assess(record.order, record.on, used, rules), record)
    if isinstance(event, OrderUnwinding):
        none = Money.zero("CNY")
        tombstone = TaxCase(event.order_id, TaxState.VOIDED, 1, None, None, None, none, none)
        return Followed(tombstone, (TaxVoided(order_id=event.order_id),))
    raise IllegalTransition("unknown", type(event))


def _placed(event: OrderPlaced, result: Assessment | Refusal, record: Record) -> Followed:
    none = Money.zero(event.currency)
    if isinstance(result, Refusal):
        refused = TaxCase(event.order_id, TaxState.REFUSED, 1, None, None, result.regime, none, none)
        fact = TaxRefused(order_id=event.order_id, code=result.code, reason=result.reason, limit=result.limit, value=result.value)
        return Followed(refused, (fact,), (), record)
    key = None if result.counted is None else quota_key_of(event)
    person_ref, year = (None, None) if key is None else key
    case = TaxCase(event.order_id, TaxState.ASSESSED, 1, person_ref, year, result.regime, result.counted or none, result.total)
    return Followed(case, (_assessed(case, result),), _entry(case, EntryKind.RESERVE), record)


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
    )  # fmt: skip


def _voided(case: TaxCase, state: TaxState) -> Followed:
    after = replace(case, state=state, version=case.version + 1, reserved=Money.zero(case.reserved.currency))
    return Followed(after, (TaxVoided(order_id=case.order_id),), _entry(case, EntryKind.VOID))


def _given_back(case: TaxCase, event: ReturnAccepted, assessed: TaxAssessed | None) -> Followed:
    """In time: no tax is levied on the goods and their dutiable value is restored to the buyer's year; late: neither
    (GACC 2020 No. 45, art. 3)."""
    assert assessed is not None, "only what was assessed is released"
    if case.state is TaxState.ASSESSED:  # what came back was released
        posted = _posted(case, TaxState.POSTED)
        back = _given_back(posted.case, event, assessed)
        return Followed(back.case, posted.facts + back.facts, posted.entries + back.entries)
    value, tax = belongs_to(assessed, event.lines)
    owed = Money(tax, case.total.currency)
    if not event.in_time:
        kept = TaxKept(order_id=case.order_id, return_no=event.return_no, total=owed)
        return Followed(replace(case, version=case.version + 1), (kept,))
    return _restored(case, event, owed, Money(value if case.quota_key else 0, case.reserved.currency))


def _restored(case: TaxCase, event: ReturnAccepted, owed: Money, quota: Money) -> Followed:
    remaining = case.total - owed
    fact = TaxRestored(order_id=case.order_id, return_no=event.return_no, total=owed, quota=quota, remaining=remaining)
    after = replace(case, version=case.version + 1, reserved=case.reserved - quota, total=remaining)
    if event.whole and not after.reserved.minor and not remaining.minor:
        after = replace(after, state=TAX.next(case.state, fact))
    return Followed(after, (fact,), _entry(replace(case, reserved=quota), EntryKind.RESTORE, part=event.return_no))


def _entry(case: TaxCase, kind: EntryKind, *, part: int = 0) -> tuple[QuotaEntry, ...]:
    """The ledger's line about what the case holds, none where it holds nothing."""
    key, held = case.quota_key, case.reserved.minor
    return () if key is None or held == 0 else (QuotaEntry(key, case.order_id, kind, held, part),)


class FollowedAll(NamedTuple):
    """The cases and quotas after a batch, per event of the batch what tax says, and all that goes into the ledger.

    `records` are those of the assessments the batch made, by order.
    """

    cases: Mapping[UUID, TaxCase]
    quotas: Mapping[PersonYear, Quota]
    facts: Sequence[tuple[TaxEvent, ...]]
    entries: Sequence[QuotaEntry]
    records: Mapping[UUID, Record]


def follow_all(
    cases: Mapping[UUID, TaxCase],
    quotas: Mapping[PersonYear, Quota],
    events: Sequence[Event],
    rules: Rulebook,
    assessed: Mapping[UUID, TaxAssessed] | None = None,
) -> FollowedAll:
    """Fold a batch in its order, so that several orders of one person see each other's reservations.

    `assessed` has the assessments of the orders of which goods came back.

    The rows of `quotas` must be locked by the caller: those of `quota_key_of` every placed order and of every case's
    `quota_key`. A person without a row has used nothing.
    """
    cases, quotas = dict(cases), dict(quotas)
    facts: list[tuple[TaxEvent, ...]] = []
    entries: list[QuotaEntry] = []
    records: dict[UUID, Record] = {}
    for event in events:
        key = quota_key_of(event) if isinstance(event, OrderPlaced) else None
        used = Quota() if key is None else quotas.get(key, Quota())
        followed = follow(cases.get(event.order_id), event, used.used, rules, (assessed or {}).get(event.order_id))
        cases[event.order_id] = followed.case
        for entry in followed.entries:
            quotas[entry.key] = entry.apply(quotas.get(entry.key, Quota()))
        entries += followed.entries
        if followed.record is not None:
            records[event.order_id] = followed.record
        facts.append(followed.facts)
    return FollowedAll(cases, quotas, facts, entries, records)
