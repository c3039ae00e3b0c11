"""The policy for tax bills: who bears a difference, and on which day a bill is paid. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final, Literal

from shared.clock import BEIJING_S
from shared.money import Money

BillOutcome = Literal["exact", "booked", "refund", "claim"]
DAY_S: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class BillTerms:
    """The policy of a day: amounts in fen, days counted from the release."""

    booked_at_most: int
    person_above: int
    pay_on_day: int
    pay_to_day: int
    missing_on_day: int


@dataclass(frozen=True, slots=True)
class BillPolicy:
    """Terms by their first day, in order."""

    rows: tuple[tuple[date, BillTerms], ...]

    def on(self, day: date) -> BillTerms:
        """Return the terms of a day; before the first row, those of the first row."""
        return next(
            (terms for valid_from, terms in reversed(self.rows) if valid_from <= day),
            self.rows[0][1],
        )


def day_begins(at: datetime, days: int, day_s: float = DAY_S) -> datetime:
    """Return the beginning, Beijing time, of the calendar day that is `days` days after that of
    `at`.

    A day lasts `day_s` seconds: 86,400 by law, less only to rehearse the law's periods.
    """
    day = (at.timestamp() + BEIJING_S) // day_s
    return datetime.fromtimestamp((day + days) * day_s - BEIJING_S, UTC)


def outcome_of(
    withheld: Money, assessed: Money, billed: Money, terms: BillTerms
) -> BillOutcome | None:
    """Return who bears what was billed less what was withheld; None where only a person may decide.

    The buyer is the taxpayer and the shop withholds the tax for the buyer (财税[2016]18号 art. 1).
    So
    tax withheld in excess goes back to the buyer. The withholding merchant owes what was withheld
    too little, and its guarantee stands for it. The amounts are house policy.
    """
    amounts = (withheld.minor, assessed.minor, billed.minor)
    if max(amounts) - min(amounts) > terms.person_above:
        return None
    return bearer_of(billed.minor - withheld.minor, terms.booked_at_most)


def bearer_of(difference: int, booked_at_most: int) -> BillOutcome:
    if difference == 0:
        return "exact"
    if abs(difference) <= booked_at_most:
        return "booked"
    return "claim" if difference > 0 else "refund"


def still_withheld(withheld: Money, assessed: Money, owed: Money) -> Money:
    """Return the withheld tax of the goods that did not come back, in proportion to the tax still
    owed.

    Payments knows this amount to the fen. Here it decides only whether a person must look.
    """
    if not assessed.minor or owed == assessed:
        return withheld
    return Money(withheld.minor * owed.minor // assessed.minor, withheld.currency)
