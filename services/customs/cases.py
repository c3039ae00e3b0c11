"""Kinds of case that customs opens, each with what a person does about it."""

from __future__ import annotations

from typing import Final

from shared.cases import Kinds

LODGING_REFUSED: Final = "lodging_refused"
KINDS: Final[Kinds] = {
    "released_after_refusal": (
        "Ask the customs office where the goods are and have them stopped or brought back: the "
        "buyer has the money back. If they are delivered, agree with the buyer on payment."
    ),
    "refused_after_release": (
        "Ask the customs office which word stands. If the goods are stopped, refund the buyer by "
        "a return of the order; if they go out, nothing is to be done."
    ),
    "two_numbers": (
        "Ask the customs office which number is the list's and have the other list deleted: tax "
        "bills, cancellations and returns go by the number."
    ),
    "number_of_another": (
        "Ask the customs office whose number it is: our two lists are told under one number, and "
        "it was left with the first."
    ),
    "declared_unnumbered": (
        "Ask the e-port for the number of the list: it says that the list is declared, and "
        "customs never gave it one. The case closes by itself when the number comes."
    ),
    LODGING_REFUSED: (
        "Put the key and certificate, or the user number, that the authority has on file in place "
        "and restart customs; nobody is refused, all lists wait, and the case is closed when one "
        "is taken."
    ),
    "bill_of_nobody": (
        "Ask the customs office whose list the tax bill is for: no import of ours has that "
        "number. Nothing is paid on it. The case closes by itself when the list gets known."
    ),
    "declaration_of_nobody": (
        "Ask the customs office whose consolidated declaration it is: no summary request of ours "
        "has its sumNo. The case closes by itself when the request gets known."
    ),
}
