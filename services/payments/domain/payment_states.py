"""The states of a payment: one table while its order stands, one once the order is undone."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from services.payments.domain.bank import (
    AuthorisationDeclined,
    Authorised,
    Captured,
    CaptureDeclined,
    ExcessRefunded,
    HoldGone,
    Refunded,
    Voided,
)
from shared.events.customs import GoodsReleased
from shared.events.orders import OrderPlaced, OrderUnwinding, ReturnAccepted
from shared.events.payments import ReturnRefunded
from shared.transitions import Transitions


class PaymentState(StrEnum):
    """How far a payment is. It ends DECLINED, VOIDED, SETTLED (less refunds of returns) or
    REFUNDED.

    The bank's answer is awaited in AUTHORISING, AUTHORISED (capturing), VOIDING, REFUNDING and
    RETURNING and GIVING_BACK.
    """

    UNASKED = "unasked"
    AUTHORISING = "authorising"
    AUTHORISED = "authorised"
    CAPTURED = "captured"
    SETTLED = "settled"
    RETURNING = "returning"
    DECLINED = "declined"
    VOIDING = "voiding"
    VOIDED = "voided"
    REFUNDING = "refunding"
    REFUNDED = "refunded"
    GIVING_BACK = "giving_back"
    """The bank declined the capture but did it: it is booked and goes back."""


PAYMENT: Final = Transitions[PaymentState](
    {
        (PaymentState.UNASKED, OrderPlaced): PaymentState.AUTHORISING,
        (PaymentState.UNASKED, OrderUnwinding): PaymentState.VOIDED,
        (PaymentState.AUTHORISING, Authorised): PaymentState.AUTHORISED,
        (PaymentState.AUTHORISING, AuthorisationDeclined): PaymentState.DECLINED,
        (PaymentState.AUTHORISING, OrderUnwinding): PaymentState.AUTHORISING,
        (PaymentState.AUTHORISED, Captured): PaymentState.CAPTURED,
        (PaymentState.AUTHORISED, CaptureDeclined): PaymentState.VOIDING,
        (PaymentState.AUTHORISED, OrderUnwinding): PaymentState.AUTHORISED,
        (PaymentState.VOIDING, Voided): PaymentState.DECLINED,
        (PaymentState.VOIDING, HoldGone): PaymentState.DECLINED,
        (PaymentState.VOIDING, OrderUnwinding): PaymentState.VOIDING,
        (PaymentState.VOIDING, Captured): PaymentState.GIVING_BACK,
        (PaymentState.GIVING_BACK, Refunded): PaymentState.DECLINED,
        (PaymentState.GIVING_BACK, OrderUnwinding): PaymentState.GIVING_BACK,
        (PaymentState.CAPTURED, GoodsReleased): PaymentState.SETTLED,
        (PaymentState.CAPTURED, OrderUnwinding): PaymentState.REFUNDING,
        (PaymentState.SETTLED, GoodsReleased): PaymentState.SETTLED,
        # Released goods came back; the return may arrive before the release.
        (PaymentState.CAPTURED, ReturnAccepted): PaymentState.RETURNING,
        (PaymentState.SETTLED, ReturnAccepted): PaymentState.RETURNING,
        (PaymentState.RETURNING, GoodsReleased): PaymentState.RETURNING,
        (PaymentState.RETURNING, Refunded): PaymentState.RETURNING,
        (PaymentState.RETURNING, ReturnRefunded): PaymentState.SETTLED,
        (PaymentState.DECLINED, OrderUnwinding): PaymentState.VOIDED,
        (PaymentState.CAPTURED, ExcessRefunded): PaymentState.CAPTURED,
        (PaymentState.SETTLED, ExcessRefunded): PaymentState.SETTLED,
        (PaymentState.RETURNING, ExcessRefunded): PaymentState.RETURNING,
    }
)
"""The table while the order stands."""


_UNDONE: Final = (
    PaymentState.AUTHORISING,
    PaymentState.AUTHORISED,
    PaymentState.VOIDING,
    PaymentState.VOIDED,
    PaymentState.REFUNDING,
    PaymentState.REFUNDED,
    PaymentState.GIVING_BACK,
)


UNWINDING: Final = Transitions[PaymentState](
    {
        (PaymentState.AUTHORISING, Authorised): PaymentState.VOIDING,
        (PaymentState.AUTHORISING, AuthorisationDeclined): PaymentState.VOIDED,
        (PaymentState.AUTHORISED, Captured): PaymentState.REFUNDING,
        (PaymentState.AUTHORISED, CaptureDeclined): PaymentState.VOIDING,
        (PaymentState.VOIDING, Voided): PaymentState.VOIDED,
        (PaymentState.VOIDING, HoldGone): PaymentState.VOIDED,
        (PaymentState.VOIDING, Captured): PaymentState.GIVING_BACK,
        (PaymentState.GIVING_BACK, Refunded): PaymentState.VOIDED,
        (PaymentState.REFUNDING, Refunded): PaymentState.REFUNDED,
        (PaymentState.REFUNDING, ExcessRefunded): PaymentState.REFUNDING,
        (PaymentState.REFUNDED, ExcessRefunded): PaymentState.REFUNDED,
        (PaymentState.VOIDED, OrderPlaced): PaymentState.VOIDED,
        **{(state, event): state for state in _UNDONE for event in (OrderUnwinding, GoodsReleased)},
    }
)
"""The table once the order is being undone.

A pending answer is still awaited: no reply is no failure.
"""
