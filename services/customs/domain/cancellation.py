"""Taking a list back: before it is lodged, by a cancellation (CEB623, CEB605), or by a return.
Pure.
"""

from __future__ import annotations

from datetime import datetime

from services.customs.domain.declaration import (
    CLEARED,
    PENDING,
    AuthorityReply,
    Decision,
    Declaration,
    DeclarationPolicy,
    DeclarationState,
    Remedy,
    emit,
    reply_time,
)
from services.customs.domain.retries import (
    RETRIED,
    queue_again,
)
from services.customs.domain.return_decisions import (
    open_return,
)
from shared.events import Event
from shared.events import customs as events
from shared.events.orders import OrderUnwinding, WithdrawalAsked
from shared.values import replace


def apply_unwinding(existing: Declaration | None, event: OrderUnwinding) -> Decision:
    """Stop a list that is not lodged. The order is undone for its own reasons, so no event
    announces it.
    """
    d = existing or Declaration(event.order_id)
    if d.state in (DeclarationState.COLLECTING, DeclarationState.MATCHED):
        return replace(d, state=DeclarationState.WITHDRAWN, waiting=None), ()
    return d, ()


def apply_withdrawal(
    existing: Declaration | None, event: WithdrawalAsked, at: datetime, policy: DeclarationPolicy
) -> Decision:
    """Take the list back where that is possible, else open a return.

    A cleared list needs its returns, its release and its documents loaded.
    """
    d = existing or Declaration(event.order_id)
    if d.state in (DeclarationState.COLLECTING, DeclarationState.MATCHED):
        return emit(
            replace(d, waiting=None),
            events.ListWithdrawn(order_id=d.order_id, cop_no=d.cop_no if d.attempt else None),
        )
    if d.state in PENDING:
        # A cancellation names the list by the number customs gave it, so it waits for that number.
        return replace(
            d, state=DeclarationState.WITHDRAWING, waiting="cancel" if d.invt_no else None
        ), ()
    if d.state in CLEARED:
        return open_return(d, event, at, policy)
    return d, ()


def release_and_return(d: Declaration, at: datetime, policy: DeclarationPolicy) -> Decision:
    facts: tuple[Event, ...] = ()
    if not d.released:
        fact = events.GoodsReleased(
            order_id=d.order_id, cop_no=d.cop_no, status=d.status or "", info="", invt_no=d.invt_no
        )
        d, facts = emit(replace(d, released=True), fact)
    d, opened = open_return(d, None, at, policy)
    return d, (*facts, *opened)


def apply_cancellation_failure(
    d: Declaration, reply: AuthorityReply, remedy: Remedy, now: datetime, policy: DeclarationPolicy
) -> Decision:
    if d.state is not DeclarationState.WITHDRAWING or remedy == "there":
        return d, ()
    if remedy in RETRIED:
        return queue_again(d, reply, remedy, now, policy), ()
    return refuse_cancellation(replace(d, waiting=None), reply_time(reply), policy)


def apply_cancellation_reply(
    d: Declaration, reply: AuthorityReply, policy: DeclarationPolicy
) -> Decision:
    if d.state is not DeclarationState.WITHDRAWING or reply.meaning != "granted":
        return d, ()
    if not d.released:
        # Also after a release that waited: customs cancels no cleared list, and nothing followed
        # from that release.
        gone = replace(d, waiting=None, released_at=None)
        return emit(gone, events.ListWithdrawn(order_id=d.order_id, cop_no=d.cop_no))
    # Granted after a release that was followed: the goods are on their way, and only a return
    # takes them back.
    return refuse_cancellation(replace(d, waiting=None), reply_time(reply), policy)


def refuse_cancellation(d: Declaration, at: datetime, policy: DeclarationPolicy) -> Decision:
    d = replace(d, cancel_refused=True)
    return release_and_return(d, at, policy) if d.released or d.release_waits else (d, ())
