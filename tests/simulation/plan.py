"""What a seed submits: small orders of every kind, and what the outside parties will
do about each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from random import Random
from typing import Final
from uuid import UUID, uuid5

from services.orders.domain.order import InvalidSubmission, ValidSubmission
from shared.events.base import Fault
from shared.events.orders import Direction, Line, OrderPlaced, Party
from shared.events.persons import SealedConsignee, SealedPerson
from shared.identity import NAMESPACE, order_id_of
from shared.money import Money
from tests.simulation.world import World

PLATFORM: Final = "1105910159"
PERSONS: Final = tuple(uuid5(NAMESPACE, f"simulated person {n}") for n in range(3))
AT: Final = datetime(2026, 11, 23, 1, tzinfo=UTC)
ENTERPRISE: Final = "PAY1"

TOKENS: Final = (
    *("ok",) * 8,
    "declined",
    "expired",
    "unknown",
    "unknown_lost",
    "slow",
    "flaky",
    "other_payer",
    "short",
    "refund_flaky",
)
CARRIER: Final = (*("",) * 8, "lost", "dupway", "badway")
AUTHORITY: Final = (
    *("",) * 6,
    "review",
    "examine",
    "detain",
    "hold",
    "hold.twice",
    "return",
    "return.twice",
    "reject",
    "shipback",
    "eport",
    "contradict",
    "contradict_501",
    "dupreceipt",
    "only_899",
    "examine.dupreceipt",
    "return.dupreceipt",
    "eport.hold",
)
WARES: Final = (
    ("0809290000", 17_200),
    ("0809290000", 17_200),
    ("4202210090", 490_000),
    ("4202210090", 680_000),
)
"""Tariff line and price in fen: cherries, and handbags below and above the single limit."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One order of a seed.

    `asks`: seconds at which it is called off, by whom, "part" for one piece of it given back;
    `submissions` those at which it comes; `return_late`: the goods of its first return come after
    the term.
    """

    order_id: UUID
    order_no: str
    placed: OrderPlaced
    faulty: bool
    token: str
    carrier: str
    authority: str
    cancel_granted: bool
    return_granted: bool
    return_late: bool
    unprintable: frozenset[str]
    submissions: tuple[float, ...]
    conflicting: tuple[float, ...]
    asks: tuple[tuple[float, str], ...]

    def accepted(self) -> ValidSubmission:
        return ValidSubmission(self.placed, {"lines": self.order_no})

    def refused(self) -> InvalidSubmission:
        fault = Fault(field="lines", rule="sum", found="1", expected="2")
        return InvalidSubmission(
            self.order_id, self.order_no, PLATFORM, "US-CN", (fault,), {"lines": self.order_no}
        )

    def ends(self, *, taxable: bool) -> frozenset[str]:
        """The ends that are right for it.

        `taxable`: the buyer's quota let it through, which is the order of arrival's affair.
        """
        if self.faulty:
            return frozenset({"rejected"} | ({"cancelled"} if self.asks else set()))
        if self.is_refused() or not taxable:
            return frozenset({"rejected"} | ({"cancelled"} if self.asks else set()))
        found = {"fulfilled"} - ({"fulfilled"} if self.carrier == "lost" else set())
        return frozenset(found | ({"cancelled", "returned"} if self.asks else set()))

    def is_refused(self) -> bool:
        """By the bank, the documents or the authority, unless it is called off first."""
        words = self.authority.split(".")
        # Who pays is the authority's affair for imports only, where the limits are the buyer's.
        tokens = {"declined", "expired", "short"} | (
            {"other_payer"} if self.placed.direction == "import" else set()
        )
        return (
            self.token in tokens
            or self.carrier == "badway"
            or bool({"detain", "reject", "shipback"} & {*words})
            or "declare" in self.unprintable
        )


def draw(world: World) -> list[Plan]:
    """The orders of a seed.

    Several may be of one buyer, who has little left of the year's limit.
    """
    number = world.dice.randint(3, 5)
    return [_plan(world, n) for n in range(number)]


def _plan(world: World, number: int) -> Plan:
    dice = world.dice
    order_no = f"SIM-{world.seed}-{number}"
    order_id = order_id_of(PLATFORM, order_no)
    carrier = dice.choice(CARRIER)
    # By dice of their own, so that they change no seed in which nothing is said again.
    if carrier == "" and not Random(f"{world.seed} {number} second waybill").randrange(8):
        carrier = "secondway"
    again = Random(f"{world.seed} {number} again").choice(("", "", "", ".again", ".again.again"))
    asks = [
        (dice.random() ** 2 * 90, dice.choice(("cancel", "return", "part")))
        for _ in range(dice.choice((0, 0, 0, 1, 1, 2)))
    ]
    # Given back one after another, in parts and at last wholly.
    asks += [
        (60 + 40 * n + 20 * dice.random(), dice.choice(("part", "part", "return")))
        for n in range(dice.choice((0, 0, 0, 3)))
    ]
    if carrier == "lost":
        asks.append((100 + dice.random() * 100, "cancel"))
    first = dice.random() * 10
    twice = [dice.random() * 60 for _ in range(dice.choice((0, 0, 0, 1)))]
    direction: Direction = "export" if dice.random() < 0.2 else "import"
    hs_code, fen = dice.choice(WARES) if direction == "import" else WARES[0]
    return Plan(
        order_id=order_id,
        order_no=order_no,
        placed=_placed(order_id, order_no, dice.choice(PERSONS[:2]), direction, hs_code, fen),
        faulty=dice.random() < 0.05,
        token=dice.choice(TOKENS),
        carrier=carrier,
        authority=dice.choice(AUTHORITY) + again,
        cancel_granted=dice.random() < 0.7,
        return_granted=dice.random() < 0.8,
        return_late=dice.random() < 0.3,
        unprintable=frozenset(
            kind for kind in ("declare", "cancel", "return") if dice.random() < 0.03
        ),
        submissions=(first, *twice),
        conflicting=tuple(dice.random() * 60 for _ in range(dice.choice((0, 0, 0, 0, 1)))),
        asks=tuple(asks),
    )


def quotas(plans: Sequence[Plan]) -> dict[UUID, int]:
    """What each buyer has used of the yearly 26,000 before: so much that not all dear orders may
    pass.
    """
    return {plan.placed.buyer.person_ref: 1_900_000 for plan in plans}


def _template() -> OrderPlaced:
    zero = Money.zero("CNY")
    person = _person(PERSONS[0])
    return OrderPlaced(
        order_id=PERSONS[0],
        order_no="",
        placed_at=AT,
        direction="import",
        mode="9610",
        corridor="US-CN",
        platform=Party(code=PLATFORM, name="P"),
        merchant=Party(code="46016602EV", name="M", country="US"),
        buyer=person,
        payer=person,
        consignee=_consignee(PERSONS[0]),
        payment_enterprise=ENTERPRISE,
        payment_token="",
        currency="CNY",
        lines=(_line("0809290000", 17_200),),
        goods_value=zero,
        freight=Money(2000, "CNY"),
        insurance=zero,
        discount=zero,
        tax_withheld=zero,
        amount_paid=zero,
    )


def _line(hs_code: str, fen: int) -> Line:
    # Several pieces, so that they come back in parts; a handbag over the single limit is one piece
    # by law.
    pieces = Decimal(1) if fen > 500_000 else Decimal(4 if hs_code.startswith("0809") else 2)
    return Line(
        line_no=1,
        sku="S",
        name="goods",
        hs_code=hs_code,
        origin="US",
        quantity=pieces,
        unit="kg",
        net_weight_kg=Decimal(1),
        unit_price=Decimal(fen) / 100 / pieces,
        total=Money(fen, "CNY"),
    )


def _person(person_ref: UUID) -> SealedPerson:
    return SealedPerson(
        person_ref=person_ref, sealed=b"", id_type="1", name_digest=f"n{person_ref}", id_digest="i"
    )


def _consignee(person_ref: UUID) -> SealedConsignee:
    return SealedConsignee(
        person_ref=person_ref,
        sealed=b"",
        country="CN",
        name_digest="cn",
        phone_digest="cp",
        address_digest="ca",
    )


_BUYERS: Final = {ref: (_person(ref), _consignee(ref)) for ref in PERSONS}
_LINES: Final = {ware: (_line(*ware),) for ware in WARES}
_PLACED: Final = _template()


def _placed(
    order_id: UUID, order_no: str, person: UUID, direction: Direction, hs_code: str, fen: int
) -> OrderPlaced:
    buyer, consignee = _BUYERS[person]
    # Not divisible by the pieces, so that a fen is lost where the parts of a return are rounded
    # each by itself.
    tax = fen // 10 + 1 if direction == "import" else 0
    # A copy, since checking the same template anew for every order would take most of a seed's
    # time.
    return _PLACED.model_copy(
        update={
            "order_id": order_id,
            "order_no": order_no,
            "buyer": buyer,
            "payer": buyer,
            "consignee": consignee,
            "direction": direction,
            "corridor": "US-CN" if direction == "import" else "CN-US",
            "lines": _LINES[hs_code, fen],
            "goods_value": Money(fen, "CNY"),
            "tax_withheld": Money(tax, "CNY"),
            "amount_paid": Money(fen + 2000 + tax, "CNY"),
        }
    )
