"""Bank, carrier and customs authority in small: what they do is planned by the seed, what they
remember is a witness.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from functools import partial
from random import Random
from typing import Any, Final
from uuid import UUID

from services.customs.domain.declaration import AuthorityReply as Ruling
from services.customs.domain.declaration import RequestKind
from services.orders.domain.order import ValidSubmission
from services.payments.domain import bank as said
from services.payments.domain.bank import BankCommand, BankEvent
from shared import topics
from shared.events.logistics import WaybillDelivered, WaybillIssued
from shared.money import Money
from tests.simulation.broker import Broker, Reader, Record
from tests.simulation.plan import AT, ENTERPRISE, PERSONS, Plan
from tests.simulation.sabotage import Sabotage
from tests.simulation.world import Violation, World


class Bank:
    """Answers each key once and for ever.

    Money moves when it decides so, whether or not its answer arrives.
    """

    def __init__(self, world: World, plans: Mapping[UUID, Plan]) -> None:
        self._world = world
        self._plans = plans
        self._answers: dict[UUID, BankEvent | said.Transferred] = {}
        self._failed: set[UUID] = set()
        self._ready_at: dict[UUID, float] = {}
        self.moved: Counter[tuple[UUID, str]] = Counter()

    def captured(self, order_id: UUID) -> int:
        return self.moved[order_id, "capture"]

    def hear(
        self, key: UUID, ask: BankCommand, *, again: bool
    ) -> BankEvent | said.Transferred | None:
        """The answer, or None where the asker cannot know.

        `again`: the key is asked after before it is sent.
        """
        # A transfer to customs is of a payment book, and of no order's token.
        plan = self._plans.get(ask.order_id)
        token = "ok" if plan is None else plan.token
        known = self._answers.get(key)
        if known is None:
            if not again and key not in self._failed and self._fails(key, token, ask):
                return None
            known = self._answers[key] = self._decide(ask, token)
            if not again and (token, ask.kind) == ("unknown", "capture"):
                return None
            if (token, ask.kind) == ("slow", "capture"):
                self._ready_at[key] = self._world.now + 10 * self._world.dice.random()
        return known if self._ready_at.get(key, 0.0) <= self._world.now else None

    def _fails(self, key: UUID, token: str, ask: BankCommand) -> bool:
        """No answer, and nothing done, once."""
        self._failed.add(key)
        return (token, ask.kind) in {
            ("unknown_lost", "capture"),
            ("flaky", "authorise"),
            ("refund_flaky", "refund"),
        }

    def _decide(self, ask: BankCommand, token: str) -> BankEvent | said.Transferred:
        order_id = ask.order_id
        if isinstance(ask, said.Authorise):
            if token == "declined":
                return said.AuthorisationDeclined(order_id, "AM04", "insufficient funds")
            return said.Authorised(order_id, f"A{order_id}")
        if isinstance(ask, said.Capture):
            return (
                said.CaptureDeclined(order_id, "AC04", "closed")
                if token == "expired"
                else self._capture(ask, token)
            )
        if isinstance(ask, said.Refund | said.RefundTax | said.Transfer):
            return self._give_out(ask)
        if self.captured(order_id):
            raise Violation(f"the bank was asked to void what it captured for {order_id}")
        return said.HoldGone(order_id) if token == "expired" else said.Voided(order_id)

    def _give_out(
        self, ask: said.Refund | said.RefundTax | said.Transfer
    ) -> BankEvent | said.Transferred:
        order_id = ask.order_id
        if not isinstance(ask, said.Transfer):
            self.moved[order_id, "refund"] += ask.amount.minor
            self.moved[order_id, "refund_tax"] += (
                ask.amount.minor if isinstance(ask, said.RefundTax) else 0
            )
            if self.moved[order_id, "refund"] > self.moved[order_id, "capture"]:
                raise Violation(f"the bank was made to refund more than it captured for {order_id}")
            number = f"R{order_id}"
            return (
                said.Refunded(order_id, number)
                if isinstance(ask, said.Refund)
                else said.ExcessRefunded(order_id, ask.amount, number)
            )
        if self.moved[order_id, "transfer"]:
            raise Violation(f"customs is paid twice for {ask.payment_book}")
        self.moved[order_id, "transfer"] += ask.amount.minor
        return said.Transferred(order_id, f"T{order_id}")

    def _capture(self, ask: said.Capture, token: str) -> BankEvent:
        amount = ask.amount - Money(100, "CNY") if token == "short" else ask.amount
        if self.captured(ask.order_id):
            raise Violation(f"the bank captured twice for {ask.order_id}")
        self.moved[ask.order_id, "capture"] += amount.minor
        payer = (
            self._plans[ask.order_id].placed.buyer.person_ref
            if token != "other_payer"
            else PERSONS[2]
        )
        return said.Captured(
            ask.order_id, amount, f"P{ask.order_id}", ENTERPRISE, payer, f"n{payer}", AT
        )


class Carrier(Reader):
    """The shop books the parcel when it places the order."""

    name = "carrier"

    def __init__(
        self, world: World, broker: Broker, sabotage: Sabotage, plans: Mapping[UUID, Plan]
    ) -> None:
        super().__init__(world, broker, sabotage, {topics.SUBMISSIONS: (ValidSubmission,)})
        self._plans = plans
        self._booked: set[UUID] = set()

    def transact(self, fresh: Any) -> None:
        for _, event in fresh:
            word = self._plans[event.order_id].carrier
            if word == "lost" or event.order_id in self._booked:
                continue
            self._booked.add(event.order_id)
            for number in {"dupway": ("W1", "W1"), "secondway": ("W1", "W2")}.get(word, ("W1",)):
                self.world.soon(
                    partial(
                        self._issue, event.order_id, "other" if word == "badway" else "cn", number
                    )
                )

    def _issue(self, order_id: UUID, consignee: str, number: str) -> None:
        waybill = _WAYBILL.model_copy(
            update={
                "order_id": order_id,
                "consignee_name_digest": consignee,
                "logistics_no": number,
            }
        )
        self.send([(topics.WAYBILLS, order_id, Record(self.world.uuid(), waybill))])
        # Nobody waits for it, and it may come at any time.
        if not Random(f"{self.world.seed} {order_id} delivered").randrange(4):
            delivered = WaybillDelivered(order_id=order_id, logistics_no=number)
            self.world.after(
                60.0,
                lambda: self.send(
                    [(topics.WAYBILLS, order_id, Record(self.world.uuid(), delivered))]
                ),
            )


_WAYBILL: Final = WaybillIssued(
    order_id=PERSONS[0],
    logistics_code="L1",
    logistics_name="L",
    logistics_no="W1",
    freight=Money(2000, "CNY"),
    insurance=Money(0, "CNY"),
    gross_weight_kg=Decimal(2),
    pack_count=1,
    consignee_name_digest="cn",
    consignee_phone_digest="cp",
    consignee_address_digest="ca",
)


@dataclass(frozen=True, slots=True)
class Request:
    """One list, cancellation or return in a collective message."""

    order_id: UUID
    kind: RequestKind
    amends: bool
    invt_no: str | None
    quantity: Decimal = Decimal(0)
    attempt: int = 0
    """Which list of the order its number is of."""


@dataclass(frozen=True, slots=True)
class Collective:
    """A collective message; `order_id` is nobody's."""

    order_id: UUID
    guid: str
    requests: tuple[Request, ...]


@dataclass(frozen=True, slots=True)
class Receipt:
    """One entry of a receipt."""

    order_id: UUID
    ruling: Ruling


@dataclass(frozen=True, slots=True)
class BillWord:
    """One entry of a CEB816 or CEB818: `total` in fen is None where only the status is told."""

    order_id: UUID
    status: int
    total: int | None = None
    tax_no: str = "T1"


@dataclass(slots=True)
class Listed:
    """The authority's entry of one order's list."""

    state: str = "none"
    status: int = 0
    guid: str = ""
    attempt: int = 0
    invt_no: str | None = None
    returns: int = 0
    refused_early: bool = False
    released: bool = False
    returned: Decimal = Decimal(0)
    late: Decimal = Decimal(0)
    applications: int = 0
    bills: int = 0
    billed: int = 0
    """How many tax bills there were, and what the last one says in fen.

    Nothing changes once it is consolidated.
    """
    consolidated: bool = False
    history: list[str] = field(default_factory=list)


LIVE: Final = ("declared",)
ENDED: Final = (501, 700, 800, 899)
MEANINGS: Final = {
    120: "accepted",
    300: "review",
    500: "examination",
    501: "detained",
    600: "held",
    700: "shipback",
    800: "released",
    899: "closed",
    399: "granted",
    100: "returned",
}


class Authority(Reader):
    """Takes lists, decides by the plan, answers one message's lists in order and different messages
    as they come.
    """

    name = "authority"

    def __init__(
        self, world: World, broker: Broker, sabotage: Sabotage, plans: Mapping[UUID, Plan]
    ) -> None:
        super().__init__(world, broker, sabotage, {topics.DECLARATIONS: (Collective,)})
        self._plans = plans
        self.register: dict[UUID, Listed] = {}
        self.assessed: Callable[[UUID], int] = lambda _: 0
        self.day_s = world.dice.choice((1.0, 10.0))
        """With a short day the goods may come back after the bill was paid."""

    def transact(self, fresh: Any) -> None:
        for _, message in fresh:
            for request in message.requests:
                entry = self.register.setdefault(request.order_id, Listed())
                if request.kind == "declare":
                    self._declare(request, entry, message.guid)
                elif request.kind == "cancel":
                    self._cancel(request, entry, message.guid)
                else:
                    self._take_back(request, entry, message.guid)

    def _declare(self, request: Request, entry: Listed, guid: str) -> None:
        plan = self._plans[request.order_id]
        words = plan.authority.split(".")
        if entry.state in LIVE:
            raise Violation(f"a second list was lodged while one is live: {request.order_id}")
        if request.amends != (entry.state == "returned"):
            raise Violation(
                f"a list {'amends' if request.amends else 'is new'} where the last is {entry.state}"
            )
        entry.guid, entry.attempt = guid, request.attempt
        if "eport" in words and not entry.refused_early:
            entry.refused_early, entry.state = True, "refused"
            self._answer(request.order_id, entry, "declare", -621041, guid)
            return
        if "reject" in words or ("return" in words and entry.returns == 0):
            entry.state, entry.returns = "returned", entry.returns + 1
            self._answer(
                request.order_id,
                entry,
                "declare",
                100,
                guid,
                "99" if "reject" in words else "130126",
            )
            return
        entry.state = "declared"
        entry.invt_no = entry.invt_no or f"I{request.order_id}"
        self._rule(request.order_id, entry, _script(words), guid)
        if "twice" in words:
            # The message came a second time, and the e-port will not have it: at any time until
            # long after the release.
            told = Ruling(
                "declare",
                "returned",
                "-621004",
                "",
                "-621004",
                None,
                None,
                AT,
                request.attempt,
                technical=True,
            )
            self.world.after(
                self.world.dice.random() ** 2 * 60, partial(self._repeat, request.order_id, told)
            )

    def _rule(self, order_id: UUID, entry: Listed, script: list[int], guid: str) -> None:
        """The next word on a list, until it is cancelled; the time between two words is free."""
        if entry.state != "declared" or entry.guid != guid or not script:
            return
        status = script[0]
        if not (entry.released and status not in (800, 899)):
            entry.status = status
        if status in (800, 899) and not entry.released:
            entry.released = True
            if self._plans[order_id].placed.direction == "import":
                self.world.after(self.day_s, partial(self._bill, order_id, entry))
        self._answer(order_id, entry, "declare", status, guid)
        self.world.soon(partial(self._rule, order_id, entry, script[1:], guid))

    def _bill(self, order_id: UUID, entry: Listed) -> None:
        """The tax bill of released goods, right or wrong, now and then twice or contradictory."""
        if entry.state != "declared":
            return
        dice = self.world.dice
        total = max(0, self.assessed(order_id) + dice.choice((0, 0, 0, 30, -30, 700, -700, 30_000)))
        entry.bills, entry.billed = 1, total
        self._tell(BillWord(order_id, 1, total))
        if dice.random() < 0.2:
            self._tell(BillWord(order_id, 1, total + dice.choice((0, 100))))
        self.world.after(30 * self.day_s, partial(self._consolidate, order_id, entry))

    def _consolidate(self, order_id: UUID, entry: Listed) -> None:
        entry.consolidated = True
        self._tell(
            BillWord(order_id, 2 if entry.state == "declared" else 3, tax_no=f"T{entry.bills}")
        )

    def _correct(self, order_id: UUID, entry: Listed, back: Decimal, before: Decimal) -> None:
        """Some of the goods came back in time: the bill is void, and another is made of what is
        left.
        """
        left = int(entry.billed * (before - back) / before)
        words = [
            BillWord(order_id, 3, tax_no=f"T{entry.bills}"),
            BillWord(order_id, 1, left, f"T{entry.bills + 1}"),
        ]
        entry.bills, entry.billed = entry.bills + 1, left
        for word in words:
            self._tell(word)

    def _tell(self, word: BillWord) -> None:
        # By messages of their own: a word on a bill may overtake any other.
        self.send([(topics.RECEIPTS, self.world.uuid(), Record(self.world.uuid(), word))])

    def _cancel(self, request: Request, entry: Listed, guid: str) -> None:
        if request.invt_no is None or request.invt_no != entry.invt_no:
            raise Violation(
                f"a cancellation names the list {request.invt_no}, the register has {entry.invt_no}"
            )
        granted = (
            entry.state == "declared"
            and entry.status not in ENDED
            and self._plans[request.order_id].cancel_granted
        )
        if granted:
            entry.state = "cancelled"
        self._answer(request.order_id, entry, "cancel", 399 if granted else 100, guid)

    def _take_back(self, request: Request, entry: Listed, guid: str) -> None:
        if entry.state != "declared" or not entry.released:
            raise Violation(
                f"a return of {request.order_id} was asked for: its list is {entry.state} "
                f"{entry.status}"
            )
        plan = self._plans[request.order_id]
        ordered = sum((line.quantity for line in plan.placed.lines), Decimal(0))
        if not 0 < request.quantity <= ordered - entry.returned:
            raise Violation(
                f"a return asks for {request.quantity} of {ordered}, {entry.returned} are back "
                "already"
            )
        entry.applications += 1
        number = f"T{entry.applications}"
        self._answer(
            request.order_id,
            entry,
            "return",
            399 if plan.return_granted else 100,
            guid,
            pre_no=number,
        )
        if plan.return_granted:
            self.world.soon(partial(self._arrive, request, entry, guid, number))

    def _arrive(self, request: Request, entry: Listed, guid: str, number: str) -> None:
        """The goods are back, in time or after the term, as it was planned for the order's first
        return.
        """
        plan = self._plans[request.order_id]
        entry.returned += request.quantity
        if entry.returned == sum((line.quantity for line in plan.placed.lines), Decimal(0)):
            entry.state = "taken_back"
        late = plan.return_late and number == "T1"
        entry.late += request.quantity if late else 0
        if entry.bills and not entry.consolidated and not late and entry.state == "declared":
            ordered = sum((line.quantity for line in plan.placed.lines), Decimal(0))
            self._correct(
                request.order_id,
                entry,
                request.quantity,
                ordered - entry.returned + request.quantity,
            )
        days = timedelta(days=366 if late else 0)
        self._answer(request.order_id, entry, "return", 800, guid, pre_no=number, after=days)

    def _answer(
        self,
        order_id: UUID,
        entry: Listed,
        on: RequestKind,
        status: int,
        guid: str,
        code: str | None = None,
        *,
        pre_no: str | None = None,
        after: timedelta = timedelta(),
    ) -> None:
        meaning = MEANINGS.get(status, "returned")
        code = str(status) if status < 0 else code
        invt_no = entry.invt_no if on != "declare" or status >= 120 else None
        at = AT + timedelta(seconds=self.world.now) + after
        attempt = entry.attempt if on == "declare" else None
        ruling = Ruling(
            on,
            meaning,  # type: ignore[arg-type]
            str(status),
            "",
            code,
            invt_no,
            pre_no,
            at,
            attempt,
            status < 0,
        )
        entry.history.append(f"{on} {status}")
        twice = "dupreceipt" in self._plans[order_id].authority
        # A receipt sent again is the same to the byte, and its bytes are its id.
        key: Hashable = guid
        self.send(
            [(topics.RECEIPTS, key, Record(self.world.uuid(), Receipt(order_id, ruling)))]
            * (1 + twice)
        )
        if entry.released and on == "declare" and status not in (800, 899):
            return  # it contradicts itself: said first, nobody could tell which of the two it means
        for _ in range(self._plans[order_id].authority.split(".").count("again")):
            self.world.after(
                self.world.dice.random() ** 2 * 60, partial(self._repeat, order_id, ruling)
            )

    def _repeat(self, order_id: UUID, ruling: Ruling) -> None:
        """Say it again, after whatever was said since: in a receipt of its own, of other bytes and
        dated anew.
        """
        ruling = (
            replace(ruling, at=AT + timedelta(seconds=self.world.now))
            if ruling.on == "declare"
            else ruling
        )
        self.send(
            [
                (
                    topics.RECEIPTS,
                    self.world.uuid(),
                    Record(self.world.uuid(), Receipt(order_id, ruling)),
                )
            ]
        )


def _script(words: list[str]) -> list[int]:
    stages = {
        "review": [300],
        "examine": [500],
        "hold": [600],
        "detain": [500, 501],
        "shipback": [500, 700],
    }
    found = [120, *(status for word in words for status in stages.get(word, []))]
    if "detain" in words or "shipback" in words:
        return found
    found.append(899 if "only_899" in words else 800)
    late = {"contradict": 500, "contradict_501": 501}
    return [*found, *(late[word] for word in words if word in late)]
