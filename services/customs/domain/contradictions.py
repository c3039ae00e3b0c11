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
from services.customs.domain.list_numbers import concerns_earlier_list, gives_another_number
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
    of_goods = {"cancel": _of_cancellation, "declare": _of_list}.get(reply.on)
    kind = of_goods(d, reply, policy) if of_goods is not None else None
    return kind or ("two_numbers" if gives_another_number(d, reply) else None)


def _of_cancellation(
    d: Declaration, reply: AuthorityReply, _policy: DeclarationPolicy
) -> ContradictionKind | None:
    if reply.meaning != "granted":
        return None
    if d.release_waits:
        return "released_after_refusal"
    return "refused_after_release" if _went_out(d) else None


def _of_list(
    d: Declaration, reply: AuthorityReply, policy: DeclarationPolicy
) -> ContradictionKind | None:
    if reply.meaning in _LETS_GO:
        return "released_after_refusal" if d.state in UNDONE else None
    if _stops(reply):
        return "refused_after_release" if d.release_waits or _went_out(d) else None
    if reply.meaning == "returned" and _is_unnumbered(d, reply):
        return "declared_unnumbered" if remedy_of(reply, policy) == "there" else None
    return None


def _stops(reply: AuthorityReply) -> bool:
    return reply.meaning in _STOPS or (reply.meaning == "returned" and not reply.technical)


def _went_out(d: Declaration) -> bool:
    return d.released and d.state is not DeclarationState.RETURNED


def _is_unnumbered(d: Declaration, reply: AuthorityReply) -> bool:
    lodged = d.state in (DeclarationState.LODGED, DeclarationState.WITHDRAWING)
    return lodged and d.invt_no is None and reply.invt_no is None
