"""How an order begins: placed, rejected at intake, or announced by a request that overtook it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from services.orders.domain.endings import end
from services.orders.domain.external_states import Stage
from services.orders.domain.order import InvalidSubmission, Order, ValidSubmission
from services.orders.domain.stages import Decided, emit
from services.orders.intake.fingerprint import differing, verdict_of
from services.orders.intake.submission import CancelRequested, ReturnRequested
from shared.events.orders import CancellationAwaitsOrder, OrderPlaced, OrderResubmitted
from shared.transitions import IllegalTransition
from shared.values import replace


def place(submission: ValidSubmission) -> Decided:
    return emit(_order_of(submission.placed, submission.fingerprint), submission.placed)


def _order_of(placed: OrderPlaced, fingerprint: Mapping[str, str]) -> Order:
    return Order(
        placed.order_id,
        placed.order_no,
        placed.platform.code,
        Stage.PLACED,
        corridor=placed.corridor,
        direction=placed.direction,
        mode=placed.mode,
        placed_at=placed.placed_at,
        goods_value=placed.goods_value,
        amount_paid=placed.amount_paid,
        fingerprint=fingerprint,
    )


def reject_submission(submission: InvalidSubmission) -> Decided:
    order = Order(
        submission.order_id,
        submission.order_no,
        submission.platform_code,
        Stage.PLACED,
        corridor=submission.corridor,
        pending_end="rejected",
        faults=submission.faults,
        fingerprint=submission.fingerprint,
    )
    return end(order)


def await_order(request: CancelRequested | ReturnRequested) -> Decided:
    """Remember a request that overtook its order.

    Raises IllegalTransition for a return of single lines: goods of an unknown order cannot come
    back.
    """
    if isinstance(request, ReturnRequested) and request.lines:
        raise IllegalTransition("unknown order", type(request))
    order = Order(
        request.order_id,
        request.order_no,
        request.platform_code,
        Stage.AWAITS_ORDER,
        reason=request.reason,
    )
    event = CancellationAwaitsOrder(order_id=order.order_id, order_no=order.order_no)
    return emit(order, event)


BEGINNINGS: Final[dict[type, Callable[[Any], Decided]]] = {
    ValidSubmission: place,
    InvalidSubmission: reject_submission,
    CancelRequested: await_order,
    ReturnRequested: await_order,
}


def place_cancelled(order: Order, submission: ValidSubmission | InvalidSubmission) -> Decided:
    """End an order whose cancellation overtook it: no payment, tax or customs work ever starts."""
    is_valid = isinstance(submission, ValidSubmission)
    placed = (
        _order_of(submission.placed, submission.fingerprint)
        if isinstance(submission, ValidSubmission)
        else reject_submission(submission)[0]
    )
    placed = replace(placed, stage=order.stage, version=order.version, reason=order.reason)
    return end(replace(placed, pending_end="cancelled" if is_valid else "rejected"))


def resubmit(order: Order, submission: ValidSubmission | InvalidSubmission) -> Decided:
    different = differing(order.fingerprint, submission.fingerprint)
    event = OrderResubmitted(
        order_id=order.order_id,
        order_no=order.order_no,
        verdict=verdict_of(different),
        different=different,
    )
    return emit(order, event)
