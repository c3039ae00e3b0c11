"""Withdrawals and returns: customs answers first, then payments and tax give back what they
hold."""

from __future__ import annotations

from services.orders.domain.endings import cancellation_refused, fulfil
from services.orders.domain.order import OpenReturn, Order
from services.orders.domain.stages import NO_REASON, STAGE, UNKNOWN_CORRIDOR, Decided, emit
from services.orders.intake.submission import CancelRequested, ReturnRequested
from shared.events import customs, orders, payments, tax
from shared.events.base import Event
from shared.money import Money, part_between
from shared.transitions import IllegalTransition
from shared.values import replace


def withdraw(order: Order, request: CancelRequested | ReturnRequested) -> Decided:
    """Ask customs whether the goods can still be held back, or how they may come back."""
    lines, refund_if_late = (
        (request.lines, request.refund_if_late)
        if isinstance(request, ReturnRequested)
        else ((), True)
    )
    if lines and not order.released:  # a list is withdrawn as a whole or not at all
        return emit(order, cancellation_refused(order))
    event = orders.WithdrawalAsked(
        order_id=order.order_id,
        reason=request.reason,
        lines=lines,
        refund_if_late=refund_if_late,
    )
    return emit(replace(order, reason=request.reason), event)


def refuse_second_return(order: Order, request: ReturnRequested) -> Decided:
    """Refuse a return of single lines while another is open: it must be asked for again afterwards.

    A return of the whole order adds nothing to the open request.
    """
    if not request.lines:
        return order, ()
    return emit(order, cancellation_refused(order))


def take_back(order: Order, event: customs.GoodsBack) -> Decided:
    """Have payments and tax give back what belongs to the goods; they answer in either order."""
    whole = isinstance(event, customs.GoodsReturned)
    accepted = orders.ReturnAccepted(
        order_id=order.order_id,
        return_no=event.return_no,
        in_time=event.in_time,
        refund_goods=event.in_time or event.refund_if_late,
        whole=whole,
        lines=event.lines,
    )
    returning = OpenReturn(event.return_no, event.in_time, whole, _price_of(event))
    pending_end = "returned" if whole else None
    return emit(replace(order, pending_end=pending_end, returning=returning), accepted)


def _price_of(event: customs.GoodsBack) -> Money:
    parts = [
        part_between(x.total.minor, x.returned_before, x.returned, x.ordered) for x in event.lines
    ]
    return Money(sum(parts), event.lines[0].total.currency)


def record_given_back(
    order: Order, event: payments.ReturnRefunded | tax.TaxRestored | tax.TaxKept
) -> Decided:
    """Record the answer of payments or tax to a return, and close the return once both are there.

    Raises IllegalTransition for an answer to another return than the open one.
    """
    returning = order.returning
    if returning is None or returning.return_no != event.return_no:
        raise IllegalTransition(
            f"{order.stage}, return {returning and returning.return_no}", type(event)
        )
    match event:
        case payments.ReturnRefunded():
            returning = replace(returning, refunded=event.amount)
        case tax.TaxRestored():
            returning = replace(returning, tax_not_levied=event.total)
        case tax.TaxKept():
            returning = replace(returning, tax_not_levied=Money.zero(event.total.currency))
    order = replace(order, returning=returning)
    if returning.refunded is None or returning.tax_not_levied is None:
        return order, ()
    return _close_return(order, returning, returning.refunded, returning.tax_not_levied)


def _close_return(
    order: Order, closing: OpenReturn, refunded: Money, tax_not_levied: Money
) -> Decided:
    event_type = orders.OrderReturned if closing.whole else orders.OrderPartlyReturned
    event = event_type(
        order_id=order.order_id,
        order_no=order.order_no,
        corridor=order.corridor or UNKNOWN_CORRIDOR,
        reason=order.reason or NO_REASON,
        return_no=closing.return_no,
        in_time=closing.in_time,
        goods_value=closing.goods_value,
        amount=refunded,
        tax_not_levied=tax_not_levied,
    )
    after = replace(
        order,
        returning=None,
        refunded=refunded if order.refunded is None else order.refunded + refunded,
        tax_kept=order.tax_kept or not closing.in_time,
        reason=order.reason if closing.whole else None,
    )
    return emit(after, event)


def keep_sale(order: Order, event: customs.ReturnRefused) -> Decided:
    events: tuple[Event, ...] = ()
    if order.fulfilled:
        order = replace(order, stage=STAGE.next(order.stage, event))
    else:
        order, events = fulfil(order, event)
    order, refused = emit(order, cancellation_refused(order))
    return replace(order, reason=None), (*events, *refused)
