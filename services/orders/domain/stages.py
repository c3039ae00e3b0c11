"""How an order's own events move its stage."""

from __future__ import annotations

from typing import Final

from services.orders.domain.external_states import Stage
from services.orders.domain.order import Order
from shared.events import customs, orders
from shared.events.base import Event
from shared.transitions import Transitions
from shared.values import replace

Decided = tuple[Order, tuple[Event, ...]]
"""The order after a decision, and the events that announce it."""

UNKNOWN_CORRIDOR: Final = "ZZ-ZZ"
NO_REASON: Final = "not given"
ENDED: Final = (Stage.FULFILLED, Stage.REJECTED, Stage.CANCELLED, Stage.RETURNED)
LIVE: Final = (Stage.PLACED, Stage.LODGED, Stage.WITHDRAWING, Stage.UNWINDING, *ENDED)

STAGE: Final = Transitions[Stage](
    {
        (Stage.AWAITS_ORDER, orders.CancellationAwaitsOrder): Stage.AWAITS_ORDER,
        (Stage.AWAITS_ORDER, orders.OrderRejected): Stage.REJECTED,
        (Stage.AWAITS_ORDER, orders.OrderCancelled): Stage.CANCELLED,
        (Stage.PLACED, orders.OrderPlaced): Stage.PLACED,
        (Stage.PLACED, orders.OrderRejected): Stage.REJECTED,
        (Stage.PLACED, customs.ListLodged): Stage.LODGED,
        (Stage.LODGED, orders.OrderFulfilled): Stage.FULFILLED,
        (Stage.PLACED, orders.WithdrawalAsked): Stage.WITHDRAWING,
        (Stage.LODGED, orders.WithdrawalAsked): Stage.WITHDRAWING,
        (Stage.FULFILLED, orders.WithdrawalAsked): Stage.WITHDRAWING,
        (Stage.WITHDRAWING, orders.OrderFulfilled): Stage.FULFILLED,
        (Stage.WITHDRAWING, customs.ReturnRefused): Stage.FULFILLED,
        (Stage.PLACED, orders.OrderUnwinding): Stage.UNWINDING,
        (Stage.LODGED, orders.OrderUnwinding): Stage.UNWINDING,
        (Stage.WITHDRAWING, orders.OrderUnwinding): Stage.UNWINDING,
        (Stage.UNWINDING, orders.OrderRejected): Stage.REJECTED,
        (Stage.UNWINDING, orders.OrderCancelled): Stage.CANCELLED,
        (Stage.WITHDRAWING, orders.ReturnAccepted): Stage.UNWINDING,
        (Stage.UNWINDING, orders.OrderPartlyReturned): Stage.FULFILLED,
        (Stage.UNWINDING, orders.OrderReturned): Stage.RETURNED,
        # Answers to a repeated submission or a late request change no stage.
        **{(stage, orders.OrderResubmitted): stage for stage in LIVE},
        **{(stage, orders.CancellationRefused): stage for stage in LIVE},
    }
)
"""The stage after each event.

Payment, tax and border have tables of their own (external_states.py).
"""


def emit(order: Order, *events: Event) -> Decided:
    for event in events:
        order = replace(order, stage=STAGE.next(order.stage, event), version=order.version + 1)
    return order, events


def ignore(order: Order, _trigger: object) -> Decided:
    return order, ()
