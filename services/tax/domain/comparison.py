"""The differences between two sets of rules, and between their results for the same orders."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from services.tax.domain.assessment import Assessment, Refusal
from services.tax.rulebook.rows import Row

SHOWN_MAX = 1_000
"""How many changed orders a comparison lists by name; all of them are counted."""


class Difference(NamedTuple):
    """A rule that differs between two sets, with the old and new value of each field."""

    rule: str
    kind: str
    fields: Mapping[str, tuple[str | None, str | None]]


def differences(old: Iterable[tuple[str, Row]], new: Iterable[tuple[str, Row]]) -> list[Difference]:
    """Return rules added, removed and changed, by name; a table inside a rule is a rule of its
    own."""
    before, after = (
        {name: _fields_of(row) for name, row in old},
        {name: _fields_of(row) for name, row in new},
    )
    differing = []
    for name in sorted({*before, *after}):
        was, now = before.get(name), after.get(name)
        if was != now:
            kind = "added" if was is None else "removed" if now is None else "changed"
            differing.append(Difference(name, kind, _changed_fields(was or {}, now or {})))
    return differing


def _changed_fields(
    was: Mapping[str, str], now: Mapping[str, str]
) -> dict[str, tuple[str | None, str | None]]:
    pairs = {key: (was.get(key), now.get(key)) for key in {**was, **now}}
    return {key: (before, after) for key, (before, after) in pairs.items() if before != after}


def _fields_of(row: Row) -> dict[str, str]:
    nested = {name for name in type(row).model_fields if _is_nested(getattr(row, name))}
    fields = row.model_dump(mode="json", by_alias=True, exclude=nested, exclude_none=True)
    return {name: str(value) for name, value in fields.items()}


def _is_nested(value: object) -> bool:
    return isinstance(value, Row) or (
        isinstance(value, tuple) and any(isinstance(part, Row) for part in value)
    )


@dataclass
class OrdersOfKind:
    """Orders of one kind of change, and their tax in fen by either set."""

    orders: int = 0
    before: int = 0
    after: int = 0


@dataclass
class WhatIf:
    """What a proposed set of rules would have changed; amounts are payable tax in fen.

    `more`, `less`: both assess it, with another tax. `refused`, `admitted`: only one of them
    refuses. `otherwise_refused`: both refuse, by different codes.
    """

    same: OrdersOfKind = field(default_factory=OrdersOfKind)
    more: OrdersOfKind = field(default_factory=OrdersOfKind)
    less: OrdersOfKind = field(default_factory=OrdersOfKind)
    refused: OrdersOfKind = field(default_factory=OrdersOfKind)
    admitted: OrdersOfKind = field(default_factory=OrdersOfKind)
    otherwise_refused: OrdersOfKind = field(default_factory=OrdersOfKind)
    changed: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, name: str, before: Assessment | Refusal, after: Assessment | Refusal) -> None:
        kind = _change(before, after)
        outcome: OrdersOfKind = getattr(self, kind)
        outcome.orders += 1
        outcome.before += _payable(before)
        outcome.after += _payable(after)
        if kind != "same" and len(self.changed) < SHOWN_MAX:
            self.changed.append((name, _as_text(before), _as_text(after)))

    @property
    def outcomes(self) -> dict[str, OrdersOfKind]:
        return {
            name: getattr(self, name)
            for name in ("same", "more", "less", "refused", "admitted", "otherwise_refused")
        }


def _change(before: Assessment | Refusal, after: Assessment | Refusal) -> str:
    if isinstance(before, Refusal) and isinstance(after, Refusal):
        return "same" if before.code == after.code else "otherwise_refused"
    if isinstance(after, Refusal):
        return "refused"
    if isinstance(before, Refusal):
        return "admitted"
    was, now = _payable(before), _payable(after)
    return "same" if was == now else "more" if now > was else "less"


def _payable(result: Assessment | Refusal) -> int:
    return 0 if isinstance(result, Refusal) else result.payable.minor


def _as_text(result: Assessment | Refusal) -> str:
    return (
        f"refused {result.code}"
        if isinstance(result, Refusal)
        else f"{result.payable} ({result.regime})"
    )
