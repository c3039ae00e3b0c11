"""The ledgers of a person's calendar year: the value and the limited weights that orders hold."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_UP, Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple
from uuid import UUID

from shared.money import Money

MG_A_KG: Final = 1_000_000
NO_WEIGHTS: Final[Mapping[str, Weight]] = MappingProxyType({})


def milligrams(kilograms: Decimal) -> int:
    """Return a weight in milligrams, rounded up; customs' own messages have five decimals of a
    kilogram."""
    return int((kilograms * MG_A_KG).to_integral_value(ROUND_UP))


class PersonYear(NamedTuple):
    """A buyer's calendar year, Beijing time: the key of a quota."""

    person_ref: UUID
    year: int


class Weight(NamedTuple):
    """Milligrams of a yearly weight that open orders reserve and released orders use."""

    reserved_mg: int = 0
    posted_mg: int = 0


class Quota(NamedTuple):
    """Fen of a yearly limit that open orders reserve and released orders use.

    `weights` has the same of goods limited by weight, by HS prefix of the positive list.
    """

    reserved_minor: int = 0
    posted_minor: int = 0
    weights: Mapping[str, Weight] = NO_WEIGHTS

    @property
    def used(self) -> Money:
        return Money(self.reserved_minor + self.posted_minor, "CNY")

    @property
    def used_kg(self) -> dict[str, Decimal]:
        held = {hs: weight.reserved_mg + weight.posted_mg for hs, weight in self.weights.items()}
        return {hs: Decimal(mg) / MG_A_KG for hs, mg in held.items() if mg}


class EntryKind(StrEnum):
    """Why a quota changes: each at most once per order, except for returns in parts."""

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
"""The effect of an entry's amount on reserved and posted; the SQL that writes entries has the same
effect."""


class QuotaEntry(NamedTuple):
    """One line of the ledger of a person's year: an order's amount in fen, always above zero.

    `part` is 0, except for a restored amount: there it counts the order's returns from 1.
    """

    key: PersonYear
    order_id: UUID
    kind: EntryKind
    amount_minor: int
    part: int = 0

    def apply(self, quota: Quota) -> Quota:
        reserved, posted = _MOVES[self.kind]
        return quota._replace(
            reserved_minor=quota.reserved_minor + reserved * self.amount_minor,
            posted_minor=quota.posted_minor + posted * self.amount_minor,
        )


class WeightEntry(NamedTuple):
    """One line of the ledger of weights: what an order line takes of a person's year, above zero.

    `hs` is the limited prefix of the positive list; `part` as in QuotaEntry.
    """

    key: PersonYear
    order_id: UUID
    line_no: int
    hs: str
    kind: EntryKind
    amount_mg: int
    part: int = 0

    def apply(self, quota: Quota) -> Quota:
        reserved, posted = _MOVES[self.kind]
        was = quota.weights.get(self.hs, Weight())
        now = Weight(
            was.reserved_mg + reserved * self.amount_mg, was.posted_mg + posted * self.amount_mg
        )
        return quota._replace(weights={**quota.weights, self.hs: now})
