"""A regime as it is on a day: its limits, and what each heading owes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from services.tax.rulebook.ratios import Owed, Ratio
from services.tax.rulebook.rows import Regime
from services.tax.rulebook.tariff import (
    Listed,
    longer,
    longest_prefix,
)


class Threshold(NamedTuple):
    """The dutiable value, in fen, from which consumption tax is due: by content, or by unit of
    goods."""

    per_content: Mapping[str, int] | None
    per_unit: int | None


@dataclass(frozen=True, slots=True)
class Basis:
    """What a line of a heading owes at one level of rates, and by which rules.

    `plain` is without consumption tax, `taxed` with it.
    """

    plain: Owed
    taxed: Owed
    rules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Goods:
    """A heading on a day: its reduced and full rates where known, its threshold, its row of the
    positive list.

    `free`: the row of the positive list has no conditions.
    """

    hs: str
    reduced: Basis | None
    full: Basis | None
    has_consumption_tax: bool
    threshold: Threshold | None
    consumption_rule: str | None = None
    listed: Listed | None = None
    list_rule: str | None = None
    free: bool = True


@dataclass(frozen=True, slots=True)
class Parcel:
    """A class of parcel articles on a day, with its rate.

    `other` is the rate from a value a piece on, or where consumption tax is due.
    """

    hs: str
    rate: Ratio
    other: Ratio | None
    dear_from: int | None
    goods: Goods | None
    rules: tuple[str, ...]


class Limits(NamedTuple):
    """The limits of a regime in fen; a value equal to a limit is inside it."""

    single: int
    yearly: int
    waived: int


@dataclass(frozen=True, slots=True)
class EffectiveRegime:
    """A regime on a day, with the tariff of that day; a listed heading that is not in force is
    None."""

    regime: Regime
    limits: Limits | None
    goods: Mapping[str, Goods | None]
    rules: tuple[str, ...]
    parcels: Mapping[str, Parcel | None]

    def find(self, hs_code: str) -> Goods | None:
        return longest_prefix(self.goods, hs_code)

    def others(self, hs_code: str) -> list[Goods | None]:
        return longer(self.goods, hs_code)
