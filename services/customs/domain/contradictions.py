"""Words of the authority that contradict what it said before: none is followed, a person must look. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from services.customs.domain.declaration import (
    CLEARED,
    Answer,
    Declaration,
    Policy,
    State,
    is_another_number,
    is_of_an_earlier_list,
    way_of,
)

Kind = Literal[
    "released_after_refusal", "refused_after_release", "two_numbers", "number_of_another", "declared_unnumbered",
    "bill_of_nobody", "declaration_of_nobody",
]  # fmt: skip

UNDONE: Final = (
    State.REFUSED,
    State.WITHDRAWN,
    State.MISMATCHED,
    State.DETAINED,
    State.SHIPPED_BACK,
)
"""The order is undone, so the buyer has the money back."""
_LETS_GO: Final = ("released", "closed")
_STOPS: Final = ("examination", "held", "detained", "shipback")

MONEY: Final[Mapping[State, str]] = {
    **dict.fromkeys(
        UNDONE,
        "the order is undone: the buyer's payment is voided or refunded, the merchant gets nothing",
    ),
    **dict.fromkeys(CLEARED, "the sale stands: the merchant is settled, the tax is posted"),
    State.RETURNING: "the merchant is settled; the refund waits for the goods",
    State.RETURNED: "the goods are back: the buyer's payment is refunded",
}
"""What was done with the money where a list stands so."""
HELD: Final = "the buyer's money is held: nothing is settled or refunded yet"


def contradiction(d: Declaration, heard: Answer, policy: Policy) -> Kind | None:
    """Which contradiction an answer is, for a list as it stands before the answer; None for an ordinary one."""
    if heard.on == "declare" and is_of_an_earlier_list(d, heard):
        return None
    return _of_the_goods(d, heard, policy) or (
        "two_numbers" if is_another_number(d, heard) else None
    )


def _of_the_goods(d: Declaration, heard: Answer, policy: Policy) -> Kind | None:
    if heard.on == "cancel" and heard.meaning == "granted":
        if d.release_waits:
            return "released_after_refusal"
        return "refused_after_release" if d.released and d.state is not State.RETURNED else None
    if heard.on != "declare":
        return None
    if heard.meaning in _LETS_GO:
        return "released_after_refusal" if d.state in UNDONE else None
    if heard.meaning in _STOPS or (heard.meaning == "returned" and not heard.technical):
        goes_out = d.release_waits or (d.released and d.state is not State.RETURNED)
        return "refused_after_release" if goes_out else None
    unnumbered = (
        d.state in (State.LODGED, State.WITHDRAWING) and d.invt_no is None and heard.invt_no is None
    )
    there = heard.meaning == "returned" and heard.technical and way_of(heard, policy) == "there"
    return "declared_unnumbered" if unnumbered and there else None
