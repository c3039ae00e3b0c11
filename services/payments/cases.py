"""The kinds of case that payments opens, and what a person does about each."""

from __future__ import annotations

from typing import Final

from shared.cases import Kinds

ANOTHER_PAYMENT: Final = "another_payment"
ANOTHER_CURRENCY: Final = "another_currency"
ANOTHER_AMOUNT: Final = "another_amount"
IMPOSSIBLE: Final = "impossible_answer"
REFUSED: Final = "refused"
REFUNDED_ELSEWHERE: Final = "refunded_elsewhere"
POISON: Final = "poison"
UNANSWERED: Final = "unanswered"

_SETTLE: Final = "`crossborder payments cases settle NO VERDICT --note WHY`"
KINDS: Final[Kinds] = {
    ANOTHER_PAYMENT: "Ask the bank why it answered with another payment, "
    f"and what it did for this one; then {_SETTLE}.",
    ANOTHER_CURRENCY: f"Ask the bank which currency it moved, and have it mended; then {_SETTLE}.",
    ANOTHER_AMOUNT: "Ask the bank how much it moved, and have it mend what is wrong; "
    f"then {_SETTLE}.",
    IMPOSSIBLE: "Ask the bank what became of it: its answers contradict each other; "
    f"then {_SETTLE}.",
    REFUSED: f"Ask the bank what hinders it, and mend it, or pay another way; then {_SETTLE}.",
    REFUNDED_ELSEWHERE: "Find the refund made at the bank's own desk; "
    f"then {_SETTLE}, VERDICT `done` with its number and amount.",
    POISON: f"Ask the bank why it fails on this instruction alone; then {_SETTLE}.",
    UNANSWERED: "Ask the bank what became of it: it is silent on this for a quarter of an hour, "
    f"or on all for a day; then {_SETTLE}.",
}

CONTRADICTIONS: Final = frozenset(
    {ANOTHER_PAYMENT, ANOTHER_CURRENCY, ANOTHER_AMOUNT, IMPOSSIBLE, REFUSED, REFUNDED_ELSEWHERE}
)
"""The bank contradicts itself or refuses what it owes; each case counts as one conflict."""
ANSWER_ENDS: Final = frozenset({REFUSED, REFUNDED_ELSEWHERE, POISON, UNANSWERED})
"""Cases that a later answer of the bank closes."""
