"""Numbers that the authority gives to a list, and which list a reply is about. Pure."""

from __future__ import annotations

from services.customs.domain.declaration import (
    AuthorityReply,
    Declaration,
    DeclarationState,
)
from services.customs.domain.numbers import last_distinct_list
from shared.values import replace


def with_numbers(d: Declaration, reply: AuthorityReply, *, earlier: bool) -> Declaration:
    newly_numbered = d.invt_no is None and reply.invt_no is not None
    pre_no = d.pre_no
    if reply.on == "declare":  # a cancellation and a return have numbers of their own
        pre_no = _number(d.pre_no, reply.pre_no, keep=earlier)
    keep = earlier or gives_another_number(d, reply)
    invt_no = _number(d.invt_no, reply.invt_no, keep=keep)
    if (invt_no, pre_no) != (d.invt_no, d.pre_no):
        d = replace(d, invt_no=invt_no, pre_no=pre_no)
    if newly_numbered and d.state is DeclarationState.WITHDRAWING:
        return replace(d, waiting="cancel")
    return d


def _number(stored: str | None, given: str | None, *, keep: bool) -> str | None:
    """Return the stored number, or the newly given one where the stored one need not be kept."""
    return stored or given if keep else given or stored


def gives_another_number(d: Declaration, reply: AuthorityReply) -> bool:
    """Return whether customs gives a list a second number: the first stays. A list lodged again may
    get a new one.
    """
    if reply.invt_no is None or d.invt_no in (None, reply.invt_no):
        return False
    return not (
        reply.on == "declare"
        and d.attempt > 1
        and reply.attempt == d.attempt
        and d.state is DeclarationState.LODGED
    )


def concerns_earlier_list(d: Declaration, reply: AuthorityReply) -> bool:
    """Return whether a reply is about a list that was returned and corrected since.

    A release, detention or return shipment concerns the goods, whatever number it names.
    """
    of_goods = ("released", "closed", "detained", "shipback")
    if reply.on != "declare" or reply.attempt is None or reply.meaning in of_goods:
        return False
    return reply.attempt < last_distinct_list(d.attempt)
