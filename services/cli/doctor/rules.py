"""Checks of the tax rules: faults, and the last day of each table."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from services.cli.doctor.check import Check

if TYPE_CHECKING:
    pass


RULES_END_DAYS: Final = 14
"""Days before a table's last day from which it is reported, as in CrossborderTaxRulesEnd."""


def rule_ends() -> Iterator[Check]:
    from services.cli.tax.rules import day_of
    from services.tax.rule_check import ends_in, faults_of_others, part_ends_in
    from services.tax.rulebook.files import RULES, validate

    folder, today = Path(os.environ.get("CROSSBORDER_RULES_DIR") or RULES), day_of(None)
    if not folder.is_dir():
        yield Check(
            "tax rules",
            False,
            f"{folder} is no folder",
            "set CROSSBORDER_RULES_DIR to the folder of the rule files",
        )
        return
    book, faults = validate(folder)
    faults = (*faults, *faults_of_others(folder))
    todo = "mend the files: `crossborder tax rules validate` lists every fault" if faults else ""
    yield Check(
        "tax rules",
        not faults,
        str(faults[0]) if faults or book is None else f"edition {book.edition}",
        todo,
    )
    whole = ends_in(folder)
    for end in (*whole, *part_ends_in(folder)):
        yield _end_check(end, today, is_whole=end in whole)


def _end_check(end: Any, today: date, *, is_whole: bool) -> Check:
    """Return the check of a table's end: it fails once all of the table has ended."""
    from services.cli.tax.rules import sentence_of

    left = end.left(today)
    near = left < RULES_END_DAYS
    advice = "docs/runbooks/CrossborderTaxRulesEnd.md: import the rates, or write the next row"
    state = sentence_of(end, today).removeprefix(f"{end.table}: ")
    ok = left >= 0 or not is_whole
    todo, soon = advice if near else "", near or end.carried_over
    return Check(f"tax rules {end.table}", ok, state, todo, soon)
