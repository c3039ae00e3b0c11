"""Returns of goods from a cleared list: opened, granted, refused, completed or given up. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from services.customs.domain import returns
from services.customs.domain.declaration import (
    AuthorityReply,
    Decision,
    Declaration,
    DeclarationPolicy,
    DeclarationState,
    Remedy,
    emit,
    reply_time,
)
from services.customs.domain.retries import RETRIED, queue_again
from services.customs.domain.returns import Return, ReturnTerms
from shared.clock import beijing_date
from shared.events import customs as events
from shared.events.orders import WithdrawalAsked
from shared.values import replace


def open_return(
    d: Declaration, event: WithdrawalAsked | None, at: datetime, policy: DeclarationPolicy
) -> Decision:
    parts = event.lines if event is not None else ()
    why = _why_no_return(d, parts, at, policy)
    if why is not None:
        return emit(
            replace(d, waiting=None), events.ReturnRefused(order_id=d.order_id, status="", info=why)
        )
    number = len(d.returns) + 1
    applied = Return(
        number, "asked", parts, event.refund_if_late if event is not None else True, at
    )
    opened = events.ReturnOpened(order_id=d.order_id, invt_no=d.invt_no or "", return_no=number)
    return emit(replace(d, waiting="return", returns=(*d.returns, applied)), opened)


def _why_no_return(
    d: Declaration, parts: Sequence[Any], at: datetime, policy: DeclarationPolicy
) -> str | None:
    terms = terms_of(d, policy)
    if terms is None or d.released_at is None:
        return "no terms for returns are known for goods released on that day"
    days = returns.days_between(d.released_at, at)
    if days > terms.apply_days_max:
        return (
            f"applied for {days} days after the release, expected at most {terms.apply_days_max} "
            f"({terms.source})"
        )
    assert d.order is not None
    return returns.unreturnable(d.order, parts, returns.quantities_back(d.returns))


def terms_of(d: Declaration, policy: DeclarationPolicy) -> ReturnTerms | None:
    if d.released_at is None:
        return None
    return returns.terms_on(policy.returns, d.direction or "", beijing_date(d.released_at))


def apply_return_reply(
    d: Declaration, reply: AuthorityReply, policy: DeclarationPolicy
) -> Decision:
    if d.state is not DeclarationState.RETURNING or _concerns_another_return(d, reply):
        return d, ()
    match reply.meaning:
        case "granted" if d.returns[-1].state == "asked":
            return _grant_return(with_return(d, state="granted", pre_no=reply.pre_no), policy)
        case "released" | "closed":
            return _record_return(d, reply, policy)
    return d, ()


def _concerns_another_return(d: Declaration, reply: AuthorityReply) -> bool:
    return reply.pre_no is not None and any(reply.pre_no == each.pre_no for each in d.returns[:-1])


def apply_return_failure(
    d: Declaration, reply: AuthorityReply, remedy: Remedy, now: datetime, policy: DeclarationPolicy
) -> Decision:
    if (
        d.state is not DeclarationState.RETURNING
        or _concerns_another_return(d, reply)
        or remedy == "there"
    ):
        return d, ()
    if remedy in RETRIED and d.returns[-1].state == "asked":
        return queue_again(d, reply, remedy, now, policy), ()
    d = with_return(d, state="refused", pre_no=reply.pre_no)
    return emit(
        replace(d, waiting=None),
        events.ReturnRefused(order_id=d.order_id, status=reply.status, info=reply.info),
    )


def _grant_return(d: Declaration, policy: DeclarationPolicy) -> Decision:
    back_by = beijing_date(release_time(d)) + timedelta(days=known_terms(d, policy).back_days_max)
    granted = events.ReturnGranted(
        order_id=d.order_id,
        invt_no=d.invt_no or "",
        return_no=d.returns[-1].return_no,
        back_by=back_by,
    )
    return emit(d, granted)


def _record_return(d: Declaration, reply: AuthorityReply, policy: DeclarationPolicy) -> Decision:
    """Record that the goods are back, in time or late. This decides whether tax is levied (GACC
    2020 No. 45, art. 3).
    """
    assert d.order is not None
    current, at = d.returns[-1], reply_time(reply)
    lines = returns.lines_back(d.order, d.tax, current.parts, d.returns[:-1])
    in_time = returns.days_between(release_time(d), at) <= known_terms(d, policy).back_days_max
    d = with_return(
        d,
        state="back" if in_time else "late",
        back_at=at,
        pre_no=reply.pre_no or current.pre_no,
        lines=lines,
    )
    kind = (
        events.GoodsReturned
        if all(x.returned == x.ordered for x in lines)
        else events.GoodsPartlyReturned
    )
    fact = kind(
        order_id=d.order_id,
        invt_no=d.invt_no or "",
        return_no=current.return_no,
        in_time=in_time,
        refund_if_late=current.refund_if_late,
        released_on=beijing_date(release_time(d)),
        back_on=beijing_date(at),
        lines=lines,
    )
    return emit(replace(d, waiting=None), fact)


def give_up_return(d: Declaration, at: datetime, policy: DeclarationPolicy) -> Decision:
    """Close a return whose goods never came or that nobody answered: the sale stands.

    Needs the returns and the release loaded. Changes nothing before the last day or without an open
    return.
    """
    if d.state is not DeclarationState.RETURNING or d.returns[-1].state not in returns.OPEN:
        return d, ()
    last = returns.given_up_after(known_terms(d, policy), release_time(d))
    if beijing_date(at) <= last:
        return d, ()
    why = f"the goods were not back: found none by {last}, the last day they are waited for"
    d = replace(with_return(d, state="refused"), waiting=None)
    return emit(d, events.ReturnRefused(order_id=d.order_id, status="", info=why))


def with_return(d: Declaration, **change: Any) -> Declaration:
    return replace(d, returns=(*d.returns[:-1], replace(d.returns[-1], **change)))


def release_time(d: Declaration) -> datetime:
    assert d.released_at is not None, "only what was released comes back"
    return d.released_at


def known_terms(d: Declaration, policy: DeclarationPolicy) -> ReturnTerms:
    terms = terms_of(d, policy)
    assert terms is not None, "a return is opened under terms that are known"
    return terms
