"""One order from its submission to its end: what may happen to it, and what follows. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from services.orders.domain.external_states import (
    BORDER,
    CLEARED,
    PAYMENT,
    SUMMARY_EVENTS,
    TAX,
    UNDONE,
    Stage,
)
from services.orders.domain.order import InvalidSubmission, OpenReturn, Order, ValidSubmission
from services.orders.domain.rejections import faults_of
from services.orders.intake.fingerprint import differing, verdict_of
from services.orders.intake.submission import CancelRequested, ReturnRequested
from shared.events import customs, payments, tax
from shared.events import orders as said
from shared.events.base import Event
from shared.events.orders import OrderPlaced
from shared.money import Money, part_between
from shared.transitions import IllegalTransition, Transitions
from shared.values import replace

__all__ = [
    "DECISIONS",
    "ENDED",
    "STAGE",
    "CancelRequested",
    "Command",
    "InvalidSubmission",
    "Order",
    "ReturnRequested",
    "Stage",
    "ValidSubmission",
    "decide",
]

Command = ValidSubmission | InvalidSubmission | CancelRequested | ReturnRequested
Decided = tuple[Order, tuple[Event, ...]]

UNKNOWN_CORRIDOR: Final = "ZZ-ZZ"
ENDED: Final = (Stage.FULFILLED, Stage.REJECTED, Stage.CANCELLED, Stage.RETURNED)
_LIVE: Final = (Stage.PLACED, Stage.LODGED, Stage.WITHDRAWING, Stage.UNWINDING, *ENDED)
_OVER: Final = (Stage.UNWINDING, *ENDED)

STAGE: Final = Transitions[Stage](
    {
        (Stage.AWAITS_ORDER, said.CancellationAwaitsOrder): Stage.AWAITS_ORDER,
        (Stage.AWAITS_ORDER, said.OrderRejected): Stage.REJECTED,
        (Stage.AWAITS_ORDER, said.OrderCancelled): Stage.CANCELLED,
        (Stage.PLACED, OrderPlaced): Stage.PLACED,
        (Stage.PLACED, said.OrderRejected): Stage.REJECTED,
        (Stage.PLACED, customs.ListLodged): Stage.LODGED,
        (Stage.LODGED, said.OrderFulfilled): Stage.FULFILLED,
        (Stage.PLACED, said.WithdrawalAsked): Stage.WITHDRAWING,
        (Stage.LODGED, said.WithdrawalAsked): Stage.WITHDRAWING,
        (Stage.FULFILLED, said.WithdrawalAsked): Stage.WITHDRAWING,
        (Stage.WITHDRAWING, said.OrderFulfilled): Stage.FULFILLED,
        (Stage.WITHDRAWING, customs.ReturnRefused): Stage.FULFILLED,
        (Stage.PLACED, said.OrderUnwinding): Stage.UNWINDING,
        (Stage.LODGED, said.OrderUnwinding): Stage.UNWINDING,
        (Stage.WITHDRAWING, said.OrderUnwinding): Stage.UNWINDING,
        (Stage.UNWINDING, said.OrderRejected): Stage.REJECTED,
        (Stage.UNWINDING, said.OrderCancelled): Stage.CANCELLED,
        (Stage.WITHDRAWING, said.ReturnAccepted): Stage.UNWINDING,
        (Stage.UNWINDING, said.OrderPartlyReturned): Stage.FULFILLED,
        (Stage.UNWINDING, said.OrderReturned): Stage.RETURNED,
        # Answers that change nothing.
        **{(stage, said.OrderResubmitted): stage for stage in _LIVE},
        **{
            (stage, said.CancellationRefused): stage
            for stage in (*_OVER, Stage.PLACED, Stage.LODGED, Stage.WITHDRAWING)
        },
    }
)
"""How each fact moves the order itself. Payment, tax and the border move in tables of their own (legs.py)."""


def decide(order: Order | None, heard: Command | Event) -> Decided:
    """What becomes of an order, and what orders says to it; raises IllegalTransition for what cannot be heard there."""
    if order is None:
        begin = _BEGINNINGS.get(type(heard))
        if begin is None:
            raise IllegalTransition("unknown order", type(heard))
        return begin(heard)
    decide = DECISIONS.get((order.stage, type(heard)))
    if decide is None:
        raise IllegalTransition(order.stage, type(heard))
    return decide(_with_external_state(order, heard), heard)


def _emit(order: Order, *facts: Event) -> Decided:
    """Fold one's own facts and announce them."""
    for fact in facts:
        order = replace(order, stage=STAGE.next(order.stage, fact), version=order.version + 1)
    return order, facts


def _with_external_state(order: Order, heard: Command | Event) -> Order:
    match heard:
        case payments.PaymentsEvent():
            return replace(order, payment=PAYMENT.next(order.payment, heard))
        case tax.TaxEvent():
            return replace(order, tax=TAX.next(order.tax, heard))
        case customs.CustomsEvent():
            border = BORDER.next(order.border, heard)
            return replace(order, border=border, released=order.released or border in CLEARED)
    return order


# --- how an order begins


def _place(came: ValidSubmission) -> Decided:
    return _emit(_order_of(came.placed, came.fingerprint), came.placed)


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


def _refuse(came: InvalidSubmission) -> Decided:
    order = Order(
        came.order_id,
        came.order_no,
        came.platform_code,
        Stage.PLACED,
        corridor=came.corridor,
        towards="rejected",
        faults=came.faults,
        fingerprint=came.fingerprint,
    )
    return _end(order)


def _await_order(asked: CancelRequested | ReturnRequested) -> Decided:
    if (
        isinstance(asked, ReturnRequested) and asked.lines
    ):  # no goods of an order that never came can come back
        raise IllegalTransition("unknown order", type(asked))
    order = Order(
        asked.order_id, asked.order_no, asked.platform_code, Stage.AWAITS_ORDER, reason=asked.reason
    )
    return _emit(
        order, said.CancellationAwaitsOrder(order_id=order.order_id, order_no=order.order_no)
    )


_BEGINNINGS: Final[dict[type, Callable[[Any], Decided]]] = {
    ValidSubmission: _place,
    InvalidSubmission: _refuse,
    CancelRequested: _await_order,
    ReturnRequested: _await_order,
}


# --- what each thing heard leads to


def _ignore(order: Order, _heard: object) -> Decided:
    return order, ()


def _place_cancelled(order: Order, came: ValidSubmission | InvalidSubmission) -> Decided:
    """The order that was called off before it came: nothing of it ever starts."""
    begun = (
        _order_of(came.placed, came.fingerprint)
        if isinstance(came, ValidSubmission)
        else _refuse(came)[0]
    )
    begun = replace(begun, stage=order.stage, version=order.version, reason=order.reason)
    return _end(
        replace(begun, towards="cancelled" if isinstance(came, ValidSubmission) else "rejected")
    )


def _resubmit(order: Order, came: ValidSubmission | InvalidSubmission) -> Decided:
    different = differing(order.fingerprint, came.fingerprint)
    fact = said.OrderResubmitted(
        order_id=order.order_id,
        order_no=order.order_no,
        verdict=verdict_of(different),
        different=different,
    )
    return _emit(order, fact)


def _withdraw(order: Order, asked: CancelRequested | ReturnRequested) -> Decided:
    """Customs must first say whether the goods can still be held back, or how they may come back."""
    lines, refund = (
        (asked.lines, asked.refund_if_late) if isinstance(asked, ReturnRequested) else ((), True)
    )
    if lines and not order.released:  # a list is withdrawn as a whole or not at all
        return _emit(order, said.CancellationRefused(order_id=order.order_id, state=order.stage))
    fact = said.WithdrawalAsked(
        order_id=order.order_id, reason=asked.reason, lines=lines, refund_if_late=refund
    )
    return _emit(replace(order, reason=asked.reason), fact)


def _refuse_second_return(order: Order, asked: ReturnRequested) -> Decided:
    """All of it is asked for already, unless this asks for lines: then it must be asked again when the first is closed."""
    if not asked.lines:
        return order, ()
    return _emit(order, said.CancellationRefused(order_id=order.order_id, state=order.stage))


def _refuse_cancellation(order: Order, _asked: object) -> Decided:
    if order.towards == "cancelled":  # it is being done, or was, already
        return order, ()
    return _emit(order, said.CancellationRefused(order_id=order.order_id, state=order.stage))


def _lodge(order: Order, heard: customs.ListLodged) -> Decided:
    return replace(order, stage=STAGE.next(order.stage, heard)), ()


def _reject(order: Order, heard: Event) -> Decided:
    """The bank, tax or customs refused: everything done is undone. The border is over or was never reached."""
    return _unwind(_with_faults(order, heard), "rejected")


def _add_faults(order: Order, heard: Event) -> Decided:
    """A second refusal while the order is being undone already: its reasons are told at the end."""
    return (_with_faults(order, heard) if order.towards == "rejected" else order), ()


def _cancel(order: Order, _heard: object) -> Decided:
    """Whoever asked for it, the goods do not enter: held back, or stopped at the border before they could be."""
    return _unwind(order, "cancelled")


def _take_back(order: Order, heard: customs.GoodsBack) -> Decided:
    """Payments and tax give back what belongs to the goods; both answer, in either order."""
    whole = isinstance(heard, customs.GoodsReturned)
    fact = said.ReturnAccepted(
        order_id=order.order_id,
        return_no=heard.return_no,
        in_time=heard.in_time,
        refund_goods=heard.in_time or heard.refund_if_late,
        whole=whole,
        lines=heard.lines,
    )
    returning = OpenReturn(heard.return_no, heard.in_time, whole, _price_of(heard))
    return _emit(replace(order, towards="returned" if whole else None, returning=returning), fact)


def _price_of(heard: customs.GoodsBack) -> Money:
    """The price of the goods that are back."""
    parts = [
        part_between(x.total.minor, x.returned_before, x.returned, x.ordered) for x in heard.lines
    ]
    return Money(sum(parts), heard.lines[0].total.currency)


def _record_given_back(
    order: Order, heard: payments.ReturnRefunded | tax.TaxRestored | tax.TaxKept
) -> Decided:
    """One of the two answers to a return; with both it is closed."""
    returning = order.returning
    if returning is None or returning.return_no != heard.return_no:
        raise IllegalTransition(
            f"{order.stage}, return {returning and returning.return_no}", type(heard)
        )
    match heard:
        case payments.ReturnRefunded():
            returning = replace(returning, refunded=heard.amount)
        case tax.TaxRestored():
            returning = replace(returning, tax_not_levied=heard.total)
        case tax.TaxKept():
            returning = replace(returning, tax_not_levied=Money.zero(heard.total.currency))
    order = replace(order, returning=returning)
    told = returning.refunded is not None and returning.tax_not_levied is not None
    return _close_return(order, returning) if told else (order, ())


def _close_return(order: Order, closed: OpenReturn) -> Decided:
    assert closed.refunded is not None
    assert closed.tax_not_levied is not None
    kind = said.OrderReturned if closed.whole else said.OrderPartlyReturned
    fact = kind(
        order_id=order.order_id,
        order_no=order.order_no,
        corridor=order.corridor or UNKNOWN_CORRIDOR,
        reason=order.reason or "not given",
        return_no=closed.return_no,
        in_time=closed.in_time,
        goods_value=closed.goods_value,
        amount=closed.refunded,
        tax_not_levied=closed.tax_not_levied,
    )
    refunded = closed.refunded if order.refunded is None else order.refunded + closed.refunded
    kept = order.tax_kept or not closed.in_time
    reason = order.reason if closed.whole else None
    return _emit(
        replace(order, returning=None, refunded=refunded, tax_kept=kept, reason=reason), fact
    )


def _unwind(order: Order, towards: said.End) -> Decided:
    fact = said.OrderUnwinding(order_id=order.order_id, towards=towards, faults=order.faults)
    return _emit(replace(order, towards=towards), fact)


def _end_once_undone(order: Order, _heard: object) -> Decided:
    """Payments and tax each answer the unwinding, whatever they had done: the end waits for both, in either order."""
    if order.payment in UNDONE and order.tax in UNDONE:
        return _end(order)
    return order, ()


def _fulfil(order: Order, _heard: object) -> Decided:
    return _emit(replace(order, fulfilled=True), _fulfilment(order))


def _keep_sale(order: Order, heard: customs.ReturnRefused) -> Decided:
    """The goods stay cleared, so the sale stands."""
    facts: tuple[Event, ...] = ()
    if order.fulfilled:
        order = replace(order, stage=STAGE.next(order.stage, heard))
    else:
        order, facts = _fulfil(order, heard)
    order, refused = _emit(
        order, said.CancellationRefused(order_id=order.order_id, state=order.stage)
    )
    return replace(order, reason=None), (*facts, *refused)


def _end(order: Order) -> Decided:
    order_id, order_no, corridor = (
        order.order_id,
        order.order_no,
        order.corridor or UNKNOWN_CORRIDOR,
    )
    reason = order.reason or "not given"
    fact: Event
    match order.towards:
        case "cancelled":
            fact = said.OrderCancelled(
                order_id=order_id, order_no=order_no, corridor=corridor, reason=reason
            )
        case _:
            fact = said.OrderRejected(
                order_id=order_id, order_no=order_no, corridor=corridor, faults=order.faults
            )
    return _emit(order, fact)


def _with_faults(order: Order, heard: Event) -> Order:
    """Sorted, so that two refusals read the same whichever came first."""
    faults = {*order.faults, *faults_of(heard)}
    return replace(
        order, faults=tuple(sorted(faults, key=lambda f: (f.field, f.code or "", f.rule, f.found)))
    )


def _fulfilment(order: Order) -> said.OrderFulfilled:
    # Only a placed order can be lodged, and placing sets all three.
    assert order.direction is not None
    assert order.goods_value is not None
    assert order.amount_paid is not None
    return said.OrderFulfilled(
        order_id=order.order_id,
        order_no=order.order_no,
        corridor=order.corridor or UNKNOWN_CORRIDOR,
        direction=order.direction,
        goods_value=order.goods_value,
        amount_paid=order.amount_paid,
    )


# --- the table: (stage, what is heard) -> decision; what is not here is refused

Rule = Callable[[Order, Any], Decided]

_PAYMENT_PROGRESS: Final = (payments.PaymentCaptured, payments.MerchantSettled)
_TAX_PROGRESS: Final = (tax.TaxAssessed, tax.TaxPosted)
_BORDER_PROGRESS: Final = (
    customs.WaybillCorrected,
    customs.ListLodged,
    customs.ListAccepted,
    customs.ListInReview,
    customs.ExaminationOrdered,
    customs.GoodsHeld,
    customs.ListReturned,
    customs.ListClosed,
)
_BORDER_ENDS: Final = (
    customs.DocumentsMismatched,
    customs.ListRefused,
    customs.GoodsDetained,
    customs.ReturnShipmentOrdered,
)
_UNDOING: Final = (payments.PaymentVoided, payments.PaymentRefunded, tax.TaxVoided)
_GIVING_BACK: Final = (payments.ReturnRefunded, tax.TaxRestored, tax.TaxKept)
_REFUSALS: Final = (payments.PaymentDeclined, tax.TaxRefused)
_REQUESTS: Final = (CancelRequested, ReturnRequested)

DECISIONS: Final[dict[tuple[Stage, type], Rule]] = {
    # Facts that only move a leg. After the end too: another topic may lag behind the one that brought the end.
    **{
        (stage, heard): _ignore
        for stage in _LIVE
        for heard in (*_PAYMENT_PROGRESS, *_TAX_PROGRESS, *_BORDER_PROGRESS)
    },
    **{
        (stage, heard): _resubmit
        for stage in _LIVE
        for heard in (ValidSubmission, InvalidSubmission)
    },
    # A cancellation overtook its order.
    **{(Stage.AWAITS_ORDER, heard): _ignore for heard in _REQUESTS},
    **{
        (Stage.AWAITS_ORDER, heard): _place_cancelled
        for heard in (ValidSubmission, InvalidSubmission)
    },
    # On the way.
    (Stage.PLACED, customs.ListLodged): _lodge,
    **{
        (stage, heard): _withdraw
        for stage in (Stage.PLACED, Stage.LODGED, Stage.FULFILLED)
        for heard in _REQUESTS
    },
    **{
        (stage, heard): _reject
        for stage in (Stage.PLACED, Stage.LODGED)
        for heard in (*_REFUSALS, *_BORDER_ENDS)
    },
    (Stage.LODGED, customs.GoodsReleased): _fulfil,
    # Called off: customs has been asked. It is the only one waited for; the others answer the unwinding.
    **{(Stage.WITHDRAWING, heard): _ignore for heard in (CancelRequested, *_REFUSALS)},
    (Stage.WITHDRAWING, ReturnRequested): _refuse_second_return,
    **{
        (Stage.WITHDRAWING, heard): _ignore
        for heard in (customs.GoodsReleased, customs.ReturnOpened, customs.ReturnGranted)
    },
    **{(Stage.WITHDRAWING, heard): _cancel for heard in (customs.ListWithdrawn, *_BORDER_ENDS)},
    **{
        (Stage.WITHDRAWING, heard): _take_back
        for heard in (customs.GoodsPartlyReturned, customs.GoodsReturned)
    },
    (Stage.WITHDRAWING, customs.ReturnRefused): _keep_sale,
    # Being undone.
    **{(Stage.UNWINDING, heard): _end_once_undone for heard in _UNDOING},
    **{(Stage.UNWINDING, heard): _record_given_back for heard in _GIVING_BACK},
    **{(Stage.UNWINDING, heard): _add_faults for heard in (*_REFUSALS, *_BORDER_ENDS)},
    (Stage.UNWINDING, customs.ListWithdrawn): _ignore,
    **{
        (stage, heard): _refuse_cancellation
        for stage in (Stage.UNWINDING, Stage.REJECTED, Stage.CANCELLED, Stage.RETURNED)
        for heard in _REQUESTS
    },
    **{(stage, customs.ListWithdrawn): _ignore for stage in (Stage.REJECTED, Stage.CANCELLED)},
    (Stage.FULFILLED, customs.GoodsReleased): _ignore,
    **{
        (stage, heard): _ignore
        for stage in (Stage.FULFILLED, Stage.WITHDRAWING, Stage.UNWINDING, Stage.RETURNED)
        for heard in SUMMARY_EVENTS
    },
}
