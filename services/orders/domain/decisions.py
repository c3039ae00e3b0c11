"""What happens to an order on each command and event: one table of (stage, trigger) to rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from services.orders.domain import beginnings, endings, returns
from services.orders.domain.external_states import (
    BORDER,
    CLEARED,
    PAYMENT,
    SUMMARY_EVENTS,
    TAX,
    Stage,
)
from services.orders.domain.order import InvalidSubmission, Order, ValidSubmission
from services.orders.domain.stages import LIVE, Decided, ignore
from services.orders.intake.submission import CancelRequested, ReturnRequested
from shared.events import customs, payments, tax
from shared.events.base import Event
from shared.transitions import IllegalTransition
from shared.values import replace

Command = ValidSubmission | InvalidSubmission | CancelRequested | ReturnRequested


def decide(order: Order | None, trigger: Command | Event) -> Decided:
    """Return the order after a command or event, and the events that orders emits.

    Raises IllegalTransition for a trigger that is not possible at the order's stage.
    """
    if order is None:
        begin = beginnings.BEGINNINGS.get(type(trigger))
        if begin is None:
            raise IllegalTransition("unknown order", type(trigger))
        return begin(trigger)
    rule = DECISIONS.get((order.stage, type(trigger)))
    if rule is None:
        raise IllegalTransition(order.stage, type(trigger))
    return rule(_with_external_state(order, trigger), trigger)


def _with_external_state(order: Order, trigger: Command | Event) -> Order:
    match trigger:
        case payments.PaymentsEvent():
            return replace(order, payment=PAYMENT.next(order.payment, trigger))
        case tax.TaxEvent():
            return replace(order, tax=TAX.next(order.tax, trigger))
        case customs.CustomsEvent():
            border = BORDER.next(order.border, trigger)
            return replace(order, border=border, released=order.released or border in CLEARED)
    return order


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
_PROGRESS: Final = (*_PAYMENT_PROGRESS, *_TAX_PROGRESS, *_BORDER_PROGRESS)
_BORDER_ENDS: Final = (
    customs.DocumentsMismatched,
    customs.ListRefused,
    customs.GoodsDetained,
    customs.ReturnShipmentOrdered,
)
_UNDOING: Final = (payments.PaymentVoided, payments.PaymentRefunded, tax.TaxVoided)
_GIVING_BACK: Final = (payments.ReturnRefunded, tax.TaxRestored, tax.TaxKept)
_GOODS_BACK: Final = (customs.GoodsPartlyReturned, customs.GoodsReturned)
_REFUSALS: Final = (payments.PaymentDeclined, tax.TaxRefused)
_SUBMISSIONS: Final = (ValidSubmission, InvalidSubmission)
_REQUESTS: Final = (CancelRequested, ReturnRequested)
_ON_THE_WAY: Final = (Stage.PLACED, Stage.LODGED)


def _rows(
    stages: tuple[Stage, ...], triggers: tuple[type, ...], rule: Rule
) -> dict[tuple[Stage, type], Rule]:
    return {(stage, trigger): rule for stage in stages for trigger in triggers}


DECISIONS: Final[dict[tuple[Stage, type], Rule]] = {
    # Events that move an external state only. They also come after the end, when another topic
    # lags.
    **_rows(LIVE, _PROGRESS, ignore),
    **_rows(LIVE, _SUBMISSIONS, beginnings.resubmit),
    # A cancellation overtook its order.
    **_rows((Stage.AWAITS_ORDER,), _REQUESTS, ignore),
    **_rows((Stage.AWAITS_ORDER,), _SUBMISSIONS, beginnings.place_cancelled),
    # On the way.
    (Stage.PLACED, customs.ListLodged): endings.lodge,
    **_rows((*_ON_THE_WAY, Stage.FULFILLED), _REQUESTS, returns.withdraw),
    **_rows(_ON_THE_WAY, (*_REFUSALS, *_BORDER_ENDS), endings.reject),
    (Stage.LODGED, customs.GoodsReleased): endings.fulfil,
    # Withdrawing: only customs' answer is awaited; payments and tax answer the unwinding later.
    **_rows((Stage.WITHDRAWING,), (CancelRequested, *_REFUSALS), ignore),
    (Stage.WITHDRAWING, ReturnRequested): returns.refuse_second_return,
    (Stage.WITHDRAWING, customs.GoodsReleased): ignore,
    (Stage.WITHDRAWING, customs.ReturnOpened): ignore,
    (Stage.WITHDRAWING, customs.ReturnGranted): ignore,
    **_rows((Stage.WITHDRAWING,), (customs.ListWithdrawn, *_BORDER_ENDS), endings.cancel),
    **_rows((Stage.WITHDRAWING,), _GOODS_BACK, returns.take_back),
    (Stage.WITHDRAWING, customs.ReturnRefused): returns.keep_sale,
    # Unwinding.
    **_rows((Stage.UNWINDING,), _UNDOING, endings.end_once_undone),
    **_rows((Stage.UNWINDING,), _GIVING_BACK, returns.record_given_back),
    **_rows((Stage.UNWINDING,), (*_REFUSALS, *_BORDER_ENDS), endings.add_faults),
    (Stage.UNWINDING, customs.ListWithdrawn): ignore,
    # At an end.
    **_rows(
        (Stage.UNWINDING, Stage.REJECTED, Stage.CANCELLED, Stage.RETURNED),
        _REQUESTS,
        endings.refuse_cancellation,
    ),
    (Stage.REJECTED, customs.ListWithdrawn): ignore,
    (Stage.CANCELLED, customs.ListWithdrawn): ignore,
    (Stage.FULFILLED, customs.GoodsReleased): ignore,
    **_rows(
        (Stage.FULFILLED, Stage.WITHDRAWING, Stage.UNWINDING, Stage.RETURNED),
        SUMMARY_EVENTS,
        ignore,
    ),
}
"""The rule for each stage and trigger; every other pair is refused."""
