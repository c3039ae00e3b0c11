"""Lists of goods by HS prefix, each in its own file, that a destination's charges apply to or
exclude."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints, model_validator

from services.tax.rulebook.rows import Dated, Id, Row, Version
from services.tax.rulebook.rule_periods import check_periods

HsPrefix = Annotated[str, StringConstraints(pattern=r"^[0-9]{2}([0-9]{2}){0,4}$")]
"""A prefix of a code; a chapter alone is allowed."""


class ListedGoods(Dated):
    """Goods that are on a list from a first to a last day."""

    hs: HsPrefix


class GoodsList(Row):
    """Goods that a law names together, by HS prefix and date."""

    kind: Literal["goods-list"]
    id: Id
    version: Version
    name: str
    goods: tuple[ListedGoods, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _dated(self) -> GoodsList:
        for hs in {row.hs for row in self.goods}:
            check_periods(
                "goods", f"hs {hs}", [(i, row) for i, row in enumerate(self.goods) if row.hs == hs]
            )
        return self

    def has(self, hs_code: str, on: date) -> bool:
        return any(hs_code.startswith(row.hs) and row.is_on(on) for row in self.goods)


SHARED_DIGITS: Final = 6
"""Digits of a code that belong to the Harmonized System; the digits after them are each country's
own."""


def may_be(prefix: str, hs_code: str) -> bool:
    """Return whether goods may be of a prefix that their code does not decide.

    The code is too short, or its further digits are another country's. An order has the codes of
    China, a list those of the destination: 8541.49.00.00 there is 8541.49.10 or 8541.49.95 here.
    """
    if hs_code.startswith(prefix):
        return False
    shared = min(len(prefix), SHARED_DIGITS)
    return prefix.startswith(hs_code) or (
        len(prefix) > shared and hs_code.startswith(prefix[:shared])
    )


def lists_that_may_have(lists: Mapping[str, GoodsList], hs_code: str, on: date) -> frozenset[str]:
    """Return the ids of the lists whose membership a code does not decide on a day."""
    return frozenset(
        name
        for name, goods in lists.items()
        if not goods.has(hs_code, on)
        and any(may_be(row.hs, hs_code) and row.is_on(on) for row in goods.goods)
    )


def lists_with(lists: Mapping[str, GoodsList], hs_code: str, on: date) -> frozenset[str]:
    return frozenset(name for name, goods in lists.items() if goods.has(hs_code, on))


def overlap(lists: Iterable[GoodsList]) -> str | None:
    """Return a prefix that two lists share on one day, or None."""
    all_lists = list(lists)
    for i, one in enumerate(all_lists):
        for other in all_lists[i + 1 :]:
            for row in one.goods:
                for with_it in other.goods:
                    if _meet(row, with_it):
                        return max(row.hs, with_it.hs, key=len)
    return None


def _meet(one: ListedGoods, other: ListedGoods) -> bool:
    ends = [row.valid_to for row in (one, other) if row.valid_to is not None]
    same_days = not ends or max(one.valid_from, other.valid_from) <= min(ends)
    return same_days and (one.hs.startswith(other.hs) or other.hs.startswith(one.hs))
