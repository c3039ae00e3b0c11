"""DOC."""

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
from shared.events import customs as said
from shared.events.orders import OrderUnwinding, WithdrawalAsked
from shared.values import replace


def apply_unwinding(found: Declaration | None, event: OrderUnwinding) -> Decision:
    """The order is being undone for a reason of its own: no list is made of it any more, and nobody asks to be told."""
    d = found or Declaration(event.order_id)
    if d.state in (DeclarationState.COLLECTING, DeclarationState.MATCHED):
        return replace(d, state=DeclarationState.WITHDRAWN, waiting=None), ()
    return d, ()


def apply_withdrawal(
    found: Declaration | None, event: WithdrawalAsked, at: datetime, policy: DeclarationPolicy
) -> Decision:
    """Take the list back if that is still possible, else open a return; where it is over already, the fact was said.

    For a cleared list its returns, its release and its documents must be at hand.
    """
    d = found or Declaration(event.order_id)
    if d.state in (DeclarationState.COLLECTING, DeclarationState.MATCHED):
        return emit(
            replace(d, waiting=None),
            said.ListWithdrawn(order_id=d.order_id, cop_no=d.cop_no if d.attempt else None),
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
    """The cancellation came too late: the goods were released, and only a return takes them back."""
    facts: tuple[Event, ...] = ()
    if not d.released:
        fact = said.GoodsReleased(
            order_id=d.order_id, cop_no=d.cop_no, status=d.status or "", info="", invt_no=d.invt_no
        )
        d, facts = emit(replace(d, released=True), fact)
    d, opened = open_return(d, None, at, policy)
    return d, (*facts, *opened)


def apply_cancellation_failure(
    d: Declaration, heard: AuthorityReply, way: Remedy, now: datetime, policy: DeclarationPolicy
) -> Decision:
    if d.state is not DeclarationState.WITHDRAWING or way == "there":
        return d, ()
    if way in RETRIED:
        return queue_again(d, heard, way, now, policy), ()
    return refuse_cancellation(replace(d, waiting=None), reply_time(heard), policy)


def apply_cancellation_reply(
    d: Declaration, heard: AuthorityReply, policy: DeclarationPolicy
) -> Decision:
    if d.state is not DeclarationState.WITHDRAWING or heard.meaning != "granted":
        return d, ()
    if not d.released:
        # Also where the release was heard: customs cancels no list that it has cleared, and nothing has followed from that word.
        gone = replace(d, waiting=None, released_at=None)
        return emit(gone, said.ListWithdrawn(order_id=d.order_id, cop_no=d.cop_no))
    # Granted for goods whose release was followed: they are on their way to the buyer, and only a return takes them back.
    return refuse_cancellation(replace(d, waiting=None), reply_time(heard), policy)


def refuse_cancellation(d: Declaration, at: datetime, policy: DeclarationPolicy) -> Decision:
    """The list is cleared, or an officer has it in hand: what the list itself is told next decides."""
    d = replace(d, cancel_refused=True)
    return release_and_return(d, at, policy) if d.released or d.release_waits else (d, ())
