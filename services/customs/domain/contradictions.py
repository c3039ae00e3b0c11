"""Replies that contradict earlier ones: none is followed, and a person decides. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from services.customs.domain.declaration import (
    CLEARED,
    AuthorityReply,
    Declaration,
    DeclarationPolicy,
    DeclarationState,
)
from services.customs.domain.replies import concerns_earlier_list, gives_another_number
from services.customs.domain.retries import remedy_of

ContradictionKind = Literal[
    "released_after_refusal",
    "refused_after_release",
    "two_numbers",
    "number_of_another",
    "declared_unnumbered",
    "bill_of_nobody",
    "declaration_of_nobody",
]

UNDONE: Final = (
    DeclarationState.REFUSED,
    DeclarationState.WITHDRAWN,
    DeclarationState.MISMATCHED,
    DeclarationState.DETAINED,
    DeclarationState.SHIPPED_BACK,
)
"""The order is undone, so the buyer has the money back."""
_LETS_GO: Final = ("released", "closed")
_STOPS: Final = ("examination", "held", "detained", "shipback")

MONEY: Final[Mapping[DeclarationState, str]] = {
    **dict.fromkeys(
        UNDONE,
        "the order is undone: the buyer's payment is voided or refunded, the merchant gets nothing",
    ),
    **dict.fromkeys(CLEARED, "the sale stands: the merchant is settled, the tax is posted"),
    DeclarationState.RETURNING: "the merchant is settled; the refund waits for the goods",
    DeclarationState.RETURNED: "the goods are back: the buyer's payment is refunded",
}
"""Where the buyer's money is, by the state of the list."""
HELD: Final = "the buyer's money is held: nothing is settled or refunded yet"


def find_contradiction(
    d: Declaration, reply: AuthorityReply, policy: DeclarationPolicy
) -> ContradictionKind | None:
    """Return which contradiction a reply is for a list as it stands before it; None for an ordinary
    reply.
    """
    if reply.on == "declare" and concerns_earlier_list(d, reply):
        return None
    return _of_the_goods(d, reply, policy) or (
        "two_numbers" if gives_another_number(d, reply) else None
    )


def _of_the_goods(
    d: Declaration, reply: AuthorityReply, policy: DeclarationPolicy
) -> ContradictionKind | None:
    if reply.on == "cancel" and reply.meaning == "granted":
        if d.release_waits:
            return "released_after_refusal"
        return (
            "refused_after_release"
            if d.released and d.state is not DeclarationState.RETURNED
            else None
        )
    if reply.on != "declare":
        return None
    if reply.meaning in _LETS_GO:
        return "released_after_refusal" if d.state in UNDONE else None
    if reply.meaning in _STOPS or (reply.meaning == "returned" and not reply.technical):
        goes_out = d.release_waits or (d.released and d.state is not DeclarationState.RETURNED)
        return "refused_after_release" if goes_out else None
    unnumbered = (
        d.state in (DeclarationState.LODGED, DeclarationState.WITHDRAWING)
        and d.invt_no is None
        and reply.invt_no is None
    )
    there = reply.meaning == "returned" and reply.technical and remedy_of(reply, policy) == "there"
    return "declared_unnumbered" if unnumbered and there else None
