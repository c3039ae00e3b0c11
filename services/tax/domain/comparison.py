"""What two sets of rules differ in, row by row, and what the other set would have made of the same orders."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from services.tax.domain.assessment import Assessment, Refusal
from services.tax.rulebook.rows import Row

SHOWN_MAX = 1_000
"""How many changed orders a comparison keeps by name; all of them are counted."""


class Difference(NamedTuple):
    """A rule that one set has and the other has not, or has otherwise: field by field what stood and what stands."""

    rule: str
    kind: str
    fields: Mapping[str, tuple[str | None, str | None]]


def differences(old: Iterable[tuple[str, Row]], new: Iterable[tuple[str, Row]]) -> list[Difference]:
    """Rules added, removed and changed, by name. Tables inside a rule are rules of their own and are not told twice."""
    before, after = {name: _said(row) for name, row in old}, {name: _said(row) for name, row in new}
    found = []
    for name in sorted({*before, *after}):
        was, now = before.get(name), after.get(name)
        if was != now:
            kind = "added" if was is None else "removed" if now is None else "changed"
            was, now = was or {}, now or {}
            changed = {
                key: (was.get(key), now.get(key))
                for key in {**was, **now}
                if was.get(key) != now.get(key)
            }
            found.append(Difference(name, kind, changed))
    return found


def _said(row: Row) -> dict[str, str]:
    nested = {name for name in type(row).model_fields if _is_nested(getattr(row, name))}
    said = row.model_dump(mode="json", by_alias=True, exclude=nested, exclude_none=True)
    return {name: str(value) for name, value in said.items()}


def _is_nested(value: object) -> bool:
    return isinstance(value, Row) or (
        isinstance(value, tuple) and any(isinstance(part, Row) for part in value)
    )


@dataclass
class Outcome:
    """Orders of one kind of change, and their tax in fen by either set."""

    orders: int = 0
    before: int = 0
    after: int = 0


@dataclass
class WhatIf:
    """What a proposed set of rules would have changed, order by order and in sum; amounts are payable tax in fen.

    `more`, `less`: assessed by both, otherwise; `refused`, `admitted`: only one of them refuses; `otherwise_refused`: both do, by
    another code.
    """

    same: Outcome = field(default_factory=Outcome)
    more: Outcome = field(default_factory=Outcome)
    less: Outcome = field(default_factory=Outcome)
    refused: Outcome = field(default_factory=Outcome)
    admitted: Outcome = field(default_factory=Outcome)
    otherwise_refused: Outcome = field(default_factory=Outcome)
    changed: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, name: str, before: Assessment | Refusal, after: Assessment | Refusal) -> None:
        """Count one order; `name` is what it is told by if it changes."""
        kind = _change(before, after)
        outcome: Outcome = getattr(self, kind)
        outcome.orders += 1
        outcome.before += _payable(before)
        outcome.after += _payable(after)
        if kind != "same" and len(self.changed) < SHOWN_MAX:
            self.changed.append((name, _told(before), _told(after)))

    @property
    def outcomes(self) -> dict[str, Outcome]:
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


def _told(result: Assessment | Refusal) -> str:
    return (
        f"refused {result.code}"
        if isinstance(result, Refusal)
        else f"{result.payable} ({result.regime})"
    )
