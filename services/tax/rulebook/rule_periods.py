"""Checks of the periods of rules: rows of one thing follow each other without gap or overlap."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date
from typing import Protocol

from services.tax.rulebook.rows import RuleFault, day_after


@contextmanager
def faults_of(name: str) -> Iterator[None]:
    """Attribute the faults raised inside to the file with this id."""
    try:
        yield
    except RuleFault as fault:
        fault.of = fault.of or name
        raise


def check_periods(table: str, what: str, rows: Iterable[tuple[int, _Placed]]) -> None:
    """Check that rows follow each other without gap or overlap; raises RuleFault naming the later
    row."""
    before: _Placed | None = None
    for index, row in sorted(rows, key=lambda placed: placed[1].valid_from):
        if before is not None:
            _follows(table, what, index, before, row)
        before = row


class _Placed(Protocol):
    @property
    def valid_from(self) -> date: ...
    @property
    def valid_to(self) -> date | None: ...


def _follows(table: str, what: str, index: int, before: _Placed, row: _Placed) -> None:
    if before.valid_to is None or row.valid_from <= before.valid_to:
        until = before.valid_to or "on"
        raise RuleFault(
            table,
            index,
            f"{what} from {row.valid_from} overlaps the row from {before.valid_from} {until}",
        )
    if row.valid_from != day_after(before.valid_to):
        raise RuleFault(
            table, index, f"{what} has a gap from {before.valid_to} to {row.valid_from}"
        )
