"""The customs service: the real declarations and match, and the open batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, Final
from uuid import UUID, uuid5

from services.customs import match_input, policy_file
from services.customs.domain import declaration as domain
from services.customs.domain import lodgement
from services.customs.domain.declaration import Declaration, DeclarationPolicy, RequestKind
from services.customs.domain.lodgement import Lodged
from services.customs.domain.returns import quantities, quantities_back
from shared import topics
from shared.events.base import Event
from shared.events.customs import (
    GoodsBack,
    GoodsReleased,
)
from shared.events.logistics import WaybillIssued
from shared.events.orders import OrderPlaced, OrderUnwinding, WithdrawalAsked
from shared.events.payments import PaymentCaptured
from shared.events.tax import TaxAssessed
from tests.simulation.billing import Bills
from tests.simulation.broker import Broker, Record, Said, Service
from tests.simulation.parties import BillWord, Collective, Receipt, Request
from tests.simulation.plan import AT, Plan
from tests.simulation.sabotage import Sabotage
from tests.simulation.summaries import ASKING, Months, Told
from tests.simulation.world import Violation, World

POLICY: Final = DeclarationPolicy(
    correctable={"130126"},
    too_soon={"-621041"},
    attempts_max=3,
    too_soon_wait_s=5.0,
    returns=policy_file.load(None).return_terms,
    there_already={"-621004"},
)
LISTS_MAX: Final = 2
AGE_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Waiting:
    """A row of the open batches."""

    kind: RequestKind
    group: str
    since: float


def at(world: World) -> datetime:
    """The world's time as a date: its beginning is noon in Beijing of some day."""
    return datetime.fromtimestamp(1_795_320_000 + world.now, UTC)


class Customs(Service):
    """declaration.collect, withdraw, stop, answer and lodged; batches close by size or age."""

    name, topic = "customs", topics.CUSTOMS

    def __init__(
        self, world: World, broker: Broker, sabotage: Sabotage, plans: Mapping[UUID, Plan]
    ) -> None:
        hears = {
            topics.ORDERS: (OrderPlaced, WithdrawalAsked, OrderUnwinding),
            topics.PAYMENTS: (PaymentCaptured,),
            topics.TAX: (TaxAssessed,),
            topics.WAYBILLS: (WaybillIssued,),
            topics.RECEIPTS: (Receipt, BillWord, Told),
        }
        super().__init__(world, broker, sabotage, hears)
        self._plans = plans
        self.waiting: dict[UUID, Waiting] = {}
        self.bills = Bills()
        self.months = Months()
        self.released_at: dict[UUID, datetime] = {}

    def transact(self, fresh: Sequence[Record]) -> None:
        changed: dict[UUID, Declaration] = {}
        facts: list[Said] = []
        for event_id, event in fresh:
            if isinstance(event, BillWord):
                self._keep(event)
                continue
            if isinstance(event, Told):
                self._hear_of_months(event)
                continue
            found = changed.get(event.order_id) or self.state.get(event.order_id)
            after, said = self._follow(found, event)
            # As in the reactions: what did not change is neither saved nor queued again.
            if after != found:
                changed[event.order_id] = after
            first = after.version - len(said) + 1
            facts += [Said(fact, event_id, first + i) for i, fact in enumerate(said)]
            if any(isinstance(fact, GoodsReleased) for fact in said):
                self.released_at[event.order_id] = at(self.world)
                self._close(after)
        self._save(changed)
        self.announce(facts)

    # --- export lists, as in consolidating.py: asked for together, announced in portions

    def _close(self, d: Declaration) -> None:
        if d.direction == "export":
            self.months.open[d.order_id] = 0
            self.world.after(AGE_S, self._ask_for_months)

    def _ask_for_months(self) -> None:
        if self.world.happens(self.world.weather.crash_before_commit):
            self.world.after(AGE_S, self._ask_for_months)
            return
        self.months.free(self._now())
        asked = self.months.ask(self.world.uuid(), self.state)
        if asked is not None:
            self._say_words()
            self.send([(topics.DECLARATIONS, asked.cop_no, Record(asked.order_id, asked))])
        elif self.months.open:
            self.world.after(AGE_S, self._ask_for_months)

    def _hear_of_months(self, told: Told) -> None:
        self.months.hear(told)
        self.world.after(AGE_S / 2, self._say_words)
        self.world.after(ASKING.wait_s + AGE_S, self._ask_for_months)

    def _say_words(self) -> None:
        facts = self.months.say(self.state, self._now())
        for fact in facts:
            d = self.state[fact.event.order_id]
            self.state[fact.event.order_id] = replace(d, version=d.version + 1)
        self.announce(facts)

    def _now(self) -> datetime:
        return AT + timedelta(seconds=self.world.now)

    # --- tax bills, as in billing.py: stored on arrival, announced once the list is cleared
    # or its return is decided

    def _keep(self, word: BillWord) -> None:
        if self.bills.keep(word):
            self.world.after(0.5, partial(self._announce_bills, word.order_id))

    def _announce_bills(self, order_id: UUID) -> None:
        d = self.state[order_id]
        if not self.bills.known(order_id):
            return
        told = (
            *domain.CLEARED,
            domain.DeclarationState.RETURNING,
            domain.DeclarationState.RETURNED,
        )
        if d.state not in told or self.world.happens(self.world.weather.crash_before_commit):
            self.world.after(2.0, partial(self._announce_bills, order_id))
            return
        facts, waits = self.bills.say(d, self._plans[order_id].placed, self.released_at[order_id])
        self.state[order_id] = replace(d, version=d.version + len(facts))
        self.announce(facts)
        if waits:
            self.world.after(2.0, partial(self._announce_bills, order_id))

    def _follow(self, found: Declaration | None, event: Any) -> domain.Decision:
        followed: domain.Decision
        match event:
            case Receipt():
                if found is None:
                    raise Violation("a receipt of a list that nobody lodged")
                followed = self.sabotage.answer(found, event.ruling, POLICY)
            case OrderUnwinding():
                followed = self.sabotage.stop(found, event)
            case WithdrawalAsked():
                followed = self.sabotage.withdraw(
                    found, event, AT + timedelta(seconds=self.world.now), POLICY
                )
            case _:
                followed = self.sabotage.collect(found, event, match_input.mismatches)
        return followed

    def _save(self, changed: Mapping[UUID, Declaration]) -> None:
        before = {
            order_id: self.state[order_id].state if order_id in self.state else None
            for order_id in changed
        }
        self.state.update(changed)
        for order_id, d in changed.items():
            if d.waiting is not None:
                self.waiting[order_id] = Waiting(
                    d.waiting, d.direction or "", self.world.now + d.waiting_s
                )
                self.world.after(d.waiting_s + AGE_S, self._lodge_due)
            elif d.state in domain.OVER or (
                d.state in (*domain.PENDING, *domain.CLEARED)
                and before[order_id] is domain.DeclarationState.MATCHED
            ):
                self.waiting.pop(order_id, None)

    # --- batches

    def _lodge_due(self) -> None:
        if self.world.happens(self.world.weather.crash_before_commit):
            self.world.after(AGE_S, self._lodge_due)
            return
        for kind, group in sorted({(w.kind, w.group) for w in self.waiting.values()}):
            ready = self._ready(kind, group)
            while ready and (
                len(ready) >= LISTS_MAX
                or self.waiting[ready[0]].since + AGE_S <= self.world.now + 1e-9
            ):
                self._lodge(kind, ready[:LISTS_MAX])
                ready = ready[LISTS_MAX:]

    def _ready(self, kind: str, group: str) -> list[UUID]:
        mine = ((w.since, o) for o, w in self.waiting.items() if (w.kind, w.group) == (kind, group))
        return [order_id for since, order_id in sorted(mine) if since <= self.world.now]

    def _lodge(self, kind: RequestKind, taken: Sequence[UUID]) -> None:
        batch_id = self.world.uuid()
        guid = str(batch_id)
        changed: dict[UUID, Declaration] = {}
        facts: list[Said] = []
        requests: list[Request] = []
        for order_id in taken:
            d: Declaration = self.state[order_id]
            del self.waiting[order_id]
            if d.waiting != kind:
                raise Violation(
                    f"{order_id} is in the open batch of {kind} and waits for {d.waiting}"
                )
            if kind in self._plans[order_id].unprintable:
                at = AT + timedelta(seconds=self.world.now)
                after, said = lodgement.refuse_unprintable(
                    d, kind, "the buyer's key was deleted", at, POLICY
                )
                cause = uuid5(order_id, f"not lodgeable:{kind}:{d.version}")
                if any(isinstance(fact, GoodsReleased) for fact in said):
                    self.released_at[order_id] = at
            else:
                requests.append(
                    Request(
                        order_id,
                        kind,
                        lodgement.correction_of(d) == "2",
                        d.invt_no,
                        _asked(d),
                        d.attempt + 1,
                    )
                )
                after, said = lodgement.record_lodging(d, Lodged(kind, batch_id, guid))
                cause = batch_id
            changed[order_id] = after
            facts += [
                Said(fact, cause, after.version - len(said) + 1 + i) for i, fact in enumerate(said)
            ]
        self._save(changed)
        self.announce(facts)
        if requests:
            message = Collective(batch_id, guid, tuple(requests))
            self.send([(topics.DECLARATIONS, guid, Record(batch_id, message))])

    def said(self, event: Event) -> None:
        """After every step: of no line does more come back than was ordered."""
        if isinstance(event, GoodsBack) and any(
            line.returned > line.ordered for line in event.lines
        ):
            raise Violation(f"more of {event.order_id} came back than was ordered: {event.lines}")

    def at_rest(self) -> None:
        super().at_rest()
        if any(self.bills.unsaid()):
            raise Violation("a tax bill was never announced")
        if left := list(self.months.unended()):
            raise Violation(f"the consolidation comes to no end: {left}")
        if self.waiting:
            raise Violation(
                f"open batches are never closed: {[w.kind for w in self.waiting.values()]}"
            )


def _asked(d: Declaration) -> Decimal:
    """How much a return asks for, as the message says it."""
    if d.state is not domain.DeclarationState.RETURNING or d.order is None:
        return Decimal(0)
    return sum(
        quantities(d.order, d.returns[-1].parts, quantities_back(d.returns[:-1])).values(),
        Decimal(0),
    )
