"""DOC."""

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
from shared.events import customs as said
from shared.events.orders import WithdrawalAsked
from shared.values import replace


def open_return(
    d: Declaration, event: WithdrawalAsked | None, at: datetime, policy: DeclarationPolicy
) -> Decision:
    """Apply for the return of what is asked for; `event` is None for a list released while it was being cancelled."""
    parts = event.lines if event is not None else ()
    why = _why_no_return(d, parts, at, policy)
    if why is not None:
        return emit(
            replace(d, waiting=None), said.ReturnRefused(order_id=d.order_id, status="", info=why)
        )
    number = len(d.returns) + 1
    asked = Return(number, "asked", parts, event.refund_if_late if event is not None else True, at)
    opened = said.ReturnOpened(order_id=d.order_id, invt_no=d.invt_no or "", return_no=number)
    return emit(replace(d, waiting="return", returns=(*d.returns, asked)), opened)


def _why_no_return(
    d: Declaration, parts: Sequence[Any], at: datetime, policy: DeclarationPolicy
) -> str | None:
    terms = terms_of(d, policy)
    if terms is None or d.released_at is None:
        return "no terms for returns are known for goods released on that day"
    days = returns.days_between(d.released_at, at)
    if days > terms.apply_days_max:
        return f"applied for {days} days after the release, expected at most {terms.apply_days_max} ({terms.source})"
    assert d.order is not None
    return returns.unreturnable(d.order, parts, returns.quantities_back(d.returns))


def terms_of(d: Declaration, policy: DeclarationPolicy) -> ReturnTerms | None:
    if d.released_at is None:
        return None
    return returns.terms_on(policy.returns, d.direction or "", beijing_date(d.released_at))


def apply_return_reply(
    d: Declaration, heard: AuthorityReply, policy: DeclarationPolicy
) -> Decision:
    """Granted (399), the goods are awaited; released (800), the authority has seen that they are back."""
    if d.state is not DeclarationState.RETURNING or _concerns_another_return(d, heard):
        return d, ()
    match heard.meaning:
        case "granted" if d.returns[-1].state == "asked":
            return _grant_return(with_return(d, state="granted", pre_no=heard.pre_no), policy)
        case "released" | "closed":
            return _record_return(d, heard, policy)
    return d, ()


def _concerns_another_return(d: Declaration, heard: AuthorityReply) -> bool:
    return heard.pre_no is not None and any(heard.pre_no == each.pre_no for each in d.returns[:-1])


def apply_return_failure(
    d: Declaration, heard: AuthorityReply, way: Remedy, now: datetime, policy: DeclarationPolicy
) -> Decision:
    if (
        d.state is not DeclarationState.RETURNING
        or _concerns_another_return(d, heard)
        or way == "there"
    ):
        return d, ()
    if way in RETRIED and d.returns[-1].state == "asked":
        return queue_again(d, heard, way, now, policy), ()
    d = with_return(d, state="refused", pre_no=heard.pre_no)
    return emit(
        replace(d, waiting=None),
        said.ReturnRefused(order_id=d.order_id, status=heard.status, info=heard.info),
    )


def _grant_return(d: Declaration, policy: DeclarationPolicy) -> Decision:
    back_by = beijing_date(release_time(d)) + timedelta(days=known_terms(d, policy).back_days_max)
    granted = said.ReturnGranted(
        order_id=d.order_id,
        invt_no=d.invt_no or "",
        return_no=d.returns[-1].return_no,
        back_by=back_by,
    )
    return emit(d, granted)


def _record_return(d: Declaration, heard: AuthorityReply, policy: DeclarationPolicy) -> Decision:
    """The goods are back, in time or late; which of the two decides whether tax is levied (GACC 2020 No. 45, art. 3)."""
    assert d.order is not None
    asked, at = d.returns[-1], reply_time(heard)
    lines = returns.lines_back(d.order, d.tax, asked.parts, d.returns[:-1])
    in_time = returns.days_between(release_time(d), at) <= known_terms(d, policy).back_days_max
    d = with_return(
        d,
        state="back" if in_time else "late",
        back_at=at,
        pre_no=heard.pre_no or asked.pre_no,
        lines=lines,
    )
    kind = (
        said.GoodsReturned
        if all(x.returned == x.ordered for x in lines)
        else said.GoodsPartlyReturned
    )
    fact = kind(
        order_id=d.order_id, invt_no=d.invt_no or "", return_no=asked.return_no, in_time=in_time,
        refund_if_late=asked.refund_if_late, released_on=beijing_date(release_time(d)), back_on=beijing_date(at),
        lines=lines,
    )  # fmt: skip
    return emit(replace(d, waiting=None), fact)


def give_up_return(d: Declaration, at: datetime, policy: DeclarationPolicy) -> Decision:
    """A return whose goods never came, or that nobody ever answered: the list stays closed and the sale a sale.

    Its returns and its release must be at hand. Before the day, and of what is no open return, nothing follows.
    """
    if d.state is not DeclarationState.RETURNING or d.returns[-1].state not in returns.OPEN:
        return d, ()
    last = returns.given_up_after(known_terms(d, policy), release_time(d))
    if beijing_date(at) <= last:
        return d, ()
    why = f"the goods were not back: found none by {last}, the last day they are waited for"
    d = replace(with_return(d, state="refused"), waiting=None)
    return emit(d, said.ReturnRefused(order_id=d.order_id, status="", info=why))


def with_return(d: Declaration, **change: Any) -> Declaration:
    """With its open return changed, which is the last."""
    return replace(d, returns=(*d.returns[:-1], replace(d.returns[-1], **change)))


def release_time(d: Declaration) -> datetime:
    assert d.released_at is not None, "only what was released comes back"
    return d.released_at


def known_terms(d: Declaration, policy: DeclarationPolicy) -> ReturnTerms:
    terms = terms_of(d, policy)
    assert terms is not None, "a return is opened under terms that are known"
    return terms
