"""How an order ends: fulfilled, or undone (unwinding) and then rejected or cancelled."""

from __future__ import annotations

from services.orders.domain.external_states import UNDONE
from services.orders.domain.order import Order
from services.orders.domain.rejections import faults_of
from services.orders.domain.stages import NO_REASON, STAGE, UNKNOWN_CORRIDOR, Decided, emit
from shared.events import customs, orders
from shared.events.base import Event
from shared.values import replace


def lodge(order: Order, event: customs.ListLodged) -> Decided:
    return replace(order, stage=STAGE.next(order.stage, event)), ()


def fulfil(order: Order, _event: object) -> Decided:
    return emit(replace(order, fulfilled=True), _fulfilment(order))


def _fulfilment(order: Order) -> orders.OrderFulfilled:
    # Only a placed order can be lodged, and placing sets all three.
    assert order.direction is not None
    assert order.goods_value is not None
    assert order.amount_paid is not None
    return orders.OrderFulfilled(
        order_id=order.order_id,
        order_no=order.order_no,
        corridor=order.corridor or UNKNOWN_CORRIDOR,
        direction=order.direction,
        goods_value=order.goods_value,
        amount_paid=order.amount_paid,
    )


def reject(order: Order, event: Event) -> Decided:
    """Undo everything after a refusal by the bank, tax or customs; the border is over or not
    reached."""
    return _unwind(_with_faults(order, event), "rejected")


def add_faults(order: Order, event: Event) -> Decided:
    return (_with_faults(order, event) if order.pending_end == "rejected" else order), ()


def cancel(order: Order, _event: object) -> Decided:
    """Undo an order whose goods do not enter: its list is withdrawn, or the border stopped it
    first."""
    return _unwind(order, "cancelled")


def _unwind(order: Order, pending_end: orders.End) -> Decided:
    event = orders.OrderUnwinding(order_id=order.order_id, towards=pending_end, faults=order.faults)
    return emit(replace(order, pending_end=pending_end), event)


def end_once_undone(order: Order, _event: object) -> Decided:
    """End the order when payments and tax have both answered the unwinding, in either order."""
    if order.payment in UNDONE and order.tax in UNDONE:
        return end(order)
    return order, ()


def end(order: Order) -> Decided:
    corridor = order.corridor or UNKNOWN_CORRIDOR
    event: Event
    if order.pending_end == "cancelled":
        event = orders.OrderCancelled(
            order_id=order.order_id,
            order_no=order.order_no,
            corridor=corridor,
            reason=order.reason or NO_REASON,
        )
    else:
        event = orders.OrderRejected(
            order_id=order.order_id,
            order_no=order.order_no,
            corridor=corridor,
            faults=order.faults,
        )
    return emit(order, event)


def refuse_cancellation(order: Order, _request: object) -> Decided:
    if order.pending_end == "cancelled":  # already done, or being done
        return order, ()
    return emit(order, cancellation_refused(order))


def cancellation_refused(order: Order) -> orders.CancellationRefused:
    return orders.CancellationRefused(order_id=order.order_id, state=order.stage)


def _with_faults(order: Order, event: Event) -> Order:
    """Add the faults of a refusal, sorted: the result must not depend on which refusal came
    first."""
    faults = {*order.faults, *faults_of(event)}
    in_order = sorted(faults, key=lambda f: (f.field, f.code or "", f.rule, f.found))
    return replace(order, faults=tuple(in_order))
