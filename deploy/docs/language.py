"""docs/sandbox.md: the words that make the outside parties act, from the sandbox's own tables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sandbox.language import BILLS, LANGUAGE, RETURNS, SUMMARIES, WHERE, Phrase

HEAD: Final = """# The language of the sandboxes

Bank, carrier and customs authority are outside parties in one process (`python -m sandbox`).
A word in the order picks what they do, so any day at the border can be rehearsed. Words of carrier
and authority join: `DEMO-20261123-000042~late.examine` has a late waybill and an examination.
"""
RETURNS_TEXT: Final = """\
An import is applied for within 30 days of its release, an export within a year.
Of each line, no more comes back than is left.
"""
BILLS_TEXT: Final = """\
The authority bills every released import list on the day after its release (CEB816). It
consolidates the bill on the 31st day (CEB818, with the number of the payment book), or voids it
if the goods came back. A message has up to 100 bills. The authority assesses by its own tariff
of today (`sandbox/authority/tariff.toml`). A day lasts `CROSSBORDER_DAY_S` seconds.
"""
SUMMARIES_TEXT: Final = """\
A request (CEB701) must name closed lists (899) under statisticsFlag B, of one office and one
consignor, and in no other declaration. The authority groups them by itself: a declaration for
each producer, country, mode and transport, with at most 50 lines. A line has one destination,
tariff code, currency and unit. A word of one list applies to the whole request.
"""
FOOT: Final = """\
In the bank's answers, `?` marks the answer to a query by key, `&` what its books have under our
reference, and `+` an answer under a new key. `!` marks the fate of a whole bulk: a cut line, no
list, 429, 500, or no answer in time.

Every delay is multiplied by `CROSSBORDER_SANDBOX_PACE`. `CROSSBORDER_SANDBOX_EXAMINATION_RATE`
is the share of lists examined at random. They are drawn from `CROSSBORDER_SANDBOX_SEED` and the
list's guid, so the same lists are drawn again. This page is written from `sandbox/language.py`
by `python -m deploy.docs`; the tests rehearse every row.
"""


def page() -> str:
    lines = [HEAD]
    for party, where in WHERE.items():
        rows = [row for row in LANGUAGE if row.party == party]
        columns = ("answers", "the order's end")
        lines += _section(party.capitalize(), f"Where: {where}.\n", columns, rows)
    where = f"Where: {WHERE['authority']}, beside the words above.\n"
    lines += _section("Returns", RETURNS_TEXT + where, ("answers", "the end"), RETURNS)
    columns = ("messages, with their status", "the end")
    lines += _section("Tax bills", BILLS_TEXT + where, columns, BILLS)
    lines += _section("Consolidation", SUMMARIES_TEXT + where, columns, SUMMARIES)
    return "\n".join([*lines, FOOT])


def _section(title: str, text: str, columns: tuple[str, str], rows: Iterable[Phrase]) -> list[str]:
    lines = [f"## {title}", "", text, f"| word | what it does | {' | '.join(columns)} |"]
    lines.append("|---|---|---|---|")
    for row in rows:
        word = f"`{row.word}`" if row.word else "(none)"
        lines.append(f"| {word} | {row.meaning} | {', '.join(row.does) or '–'} | {row.end} |")
    return [*lines, ""]
