"""What happens to a payment on each event and each answer of the bank: one table of rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from services.payments.domain import ledger
from services.payments.domain.bank import (
    AuthorisationDeclined,
    Authorise,
    Authorised,
    BankEvent,
    Capture,
    Captured,
    CaptureDeclined,
    ExcessRefunded,
    HoldGone,
    Refund,
    Refunded,
    Void,
    Voided,
)
from services.payments.domain.ledger import Purpose
from services.payments.domain.payment import (
    Payment,
    PaymentDecision,
    PaymentTerms,
    captured_of,
    excess_of,
    known,
    left_of,
    terms_of,
)
from services.payments.domain.payment_returns import (
    on_excess_refunded,
    on_return_refunded,
    paid_of,
    refund_movements,
    take_back,
    written_off_of,
)
from services.payments.domain.payment_states import PAYMENT, UNWINDING, PaymentState
from shared.events.customs import GoodsReleased
from shared.events.orders import OrderPlaced, OrderUnwinding, ReturnAccepted
from shared.events.payments import (
    MerchantSettled,
    PaymentCaptured,
    PaymentDeclined,
    PaymentRefunded,
    PaymentVoided,
)
from shared.values import replace

Trigger = OrderPlaced | OrderUnwinding | ReturnAccepted | GoodsReleased | BankEvent


def decide(payment: Payment | None, trigger: Trigger) -> PaymentDecision:
    """Return the payment after an event or answer, and what follows. Raises IllegalTransition."""
    before = payment or Payment(trigger.order_id)
    table = UNWINDING if before.unwinding else PAYMENT
    state = table.next(before.state, trigger)
    rule = _RULES.get((before.state, type(trigger)))
    if rule is None:
        return PaymentDecision(before)
    decision = rule(replace(before, state=state), trigger)
    return replace(
        decision, payment=replace(decision.payment, version=before.version + len(decision.facts))
    )


def _place(after: Payment, order: OrderPlaced) -> PaymentDecision:
    terms = PaymentTerms(
        order.amount_paid, order.tax_withheld, order.merchant.code, order.payment_enterprise
    )
    command = Authorise(
        order_id=order.order_id,
        amount=order.amount_paid,
        token=order.payment_token,
        payer=order.payer,
        enterprise_code=order.payment_enterprise,
    )
    return PaymentDecision(replace(after, terms=terms), asks=(command,))


def _authorise(after: Payment, answer: Authorised) -> PaymentDecision:
    after = replace(after, authorisation_no=answer.authorisation_no)
    if after.unwinding:
        return PaymentDecision(after, asks=(_void(after),))
    # A hold concerns nobody else: it is captured at once, and only the capture is announced.
    command = Capture(
        order_id=after.order_id,
        authorisation_no=answer.authorisation_no,
        amount=terms_of(after).amount,
    )
    return PaymentDecision(after, asks=(command,))


def _decline(after: Payment, answer: AuthorisationDeclined) -> PaymentDecision:
    if after.unwinding:
        return PaymentDecision(after, (PaymentVoided(order_id=after.order_id),))
    return PaymentDecision(after, (_declined(after, answer),))


def _capture(after: Payment, answer: Captured) -> PaymentDecision:
    # Book and announce what the bank took, even if it is not what was asked: the match detects it.
    after = replace(after, captured=answer.amount, payment_no=answer.payment_no)
    event = PaymentCaptured(
        order_id=after.order_id,
        amount=answer.amount,
        payment_no=answer.payment_no,
        enterprise_code=answer.enterprise_code or terms_of(after).enterprise_code,
        payer_ref=answer.payer_ref,
        payer_name_digest=answer.payer_name_digest,
        paid_at=answer.paid_at,
        payer_name_length=answer.payer_name_length,
        payer_id_length=answer.payer_id_length,
    )
    commands = (_refund(after),) if after.unwinding else ()
    return PaymentDecision(after, (event,), commands, ledger.capture(answer.amount))


def _decline_capture(after: Payment, answer: CaptureDeclined) -> PaymentDecision:
    events = () if after.unwinding else (_declined(after, answer),)
    return PaymentDecision(after, events, (_void(after),))


def _settle(after: Payment, _event: GoodsReleased | ReturnAccepted) -> PaymentDecision:
    terms, captured = terms_of(after), captured_of(after)
    merchant, tax = ledger.shares(captured, terms.tax_withheld)
    event = MerchantSettled(
        order_id=after.order_id,
        merchant_code=terms.merchant_code,
        merchant_amount=merchant,
        tax_amount=tax,
    )
    movements = ledger.settle(captured, terms.tax_withheld, terms.merchant_code)
    return PaymentDecision(after, (event,), movements=movements)


def _mark_unwinding(after: Payment, _event: OrderUnwinding) -> PaymentDecision:
    return PaymentDecision(replace(after, unwinding=True))


def _end_void(after: Payment, _event: OrderUnwinding) -> PaymentDecision:
    return PaymentDecision(
        replace(after, unwinding=True), (PaymentVoided(order_id=after.order_id),)
    )


def _refund_all(after: Payment, _event: OrderUnwinding) -> PaymentDecision:
    after = replace(after, unwinding=True)
    excess = excess_of(after)
    # Tax refunded earlier was the buyer's money, so there is that much less to refund.
    moved = ledger.shift(
        Purpose.UNSETTLE_TAX, ledger.BUYER, ledger.TAX_OFFICE, excess.minor, excess.currency
    )
    return PaymentDecision(after, asks=(_refund(after),), movements=moved)


def _settle_and_take_back(after: Payment, event: ReturnAccepted) -> PaymentDecision:
    """Settle first: the return arrived before the release, and only released goods can come
    back."""
    settled = _settle(after, event)
    taken = take_back(settled.payment, event)
    return PaymentDecision(
        taken.payment, settled.facts + taken.facts, taken.asks, settled.movements + taken.movements
    )


def _on_void(after: Payment, _answer: Voided | HoldGone) -> PaymentDecision:
    return PaymentDecision(after, _voided(after))


def _give_back(after: Payment, answer: Captured) -> PaymentDecision:
    """Book a capture that was announced as declined, and refund it: no event undoes the decline."""
    after = replace(after, captured=answer.amount, payment_no=answer.payment_no)
    return PaymentDecision(after, (), (_refund(after),), ledger.capture(answer.amount))


def _on_given_back(after: Payment, answer: Refunded) -> PaymentDecision:
    return replace(_book_refund(after, answer), facts=_voided(after))


def _on_refunded(after: Payment, answer: Refunded) -> PaymentDecision:
    booked = _book_refund(after, answer)
    assert booked.payment.refunded is not None
    event = PaymentRefunded(
        order_id=after.order_id, amount=booked.payment.refunded, refund_no=answer.refund_no
    )
    return replace(booked, facts=(event,))


def _book_refund(after: Payment, answer: Refunded) -> PaymentDecision:
    """Book the refund of all that is left of a capture; what was not refunded is written off."""
    paid, off = paid_of(left_of(after), answer)
    after = replace(
        after, refunded=paid, refund_no=answer.refund_no, written_off=written_off_of(after, off)
    )
    return PaymentDecision(after, movements=refund_movements(paid, off, answer))


def _voided(payment: Payment) -> tuple[PaymentVoided, ...]:
    """Return the event that orders waits for once it undoes an order."""
    return (PaymentVoided(order_id=payment.order_id),) if payment.unwinding else ()


_RULES: Final[dict[tuple[PaymentState, type], Callable[..., PaymentDecision]]] = {
    (PaymentState.UNASKED, OrderPlaced): _place,
    (PaymentState.UNASKED, OrderUnwinding): _end_void,
    (PaymentState.AUTHORISING, Authorised): _authorise,
    (PaymentState.AUTHORISING, AuthorisationDeclined): _decline,
    (PaymentState.AUTHORISING, OrderUnwinding): _mark_unwinding,
    (PaymentState.AUTHORISED, Captured): _capture,
    (PaymentState.AUTHORISED, CaptureDeclined): _decline_capture,
    (PaymentState.AUTHORISED, OrderUnwinding): _mark_unwinding,
    (PaymentState.VOIDING, Voided): _on_void,
    (PaymentState.VOIDING, HoldGone): _on_void,
    (PaymentState.VOIDING, OrderUnwinding): _mark_unwinding,
    (PaymentState.VOIDING, Captured): _give_back,
    (PaymentState.GIVING_BACK, Refunded): _on_given_back,
    (PaymentState.GIVING_BACK, OrderUnwinding): _mark_unwinding,
    (PaymentState.CAPTURED, GoodsReleased): _settle,
    (PaymentState.CAPTURED, OrderUnwinding): _refund_all,
    (PaymentState.CAPTURED, ReturnAccepted): _settle_and_take_back,
    (PaymentState.SETTLED, ReturnAccepted): take_back,
    (PaymentState.RETURNING, Refunded): on_return_refunded,
    (PaymentState.DECLINED, OrderUnwinding): _end_void,
    (PaymentState.REFUNDING, Refunded): _on_refunded,
    **{
        (s, ExcessRefunded): on_excess_refunded
        for s in (
            PaymentState.CAPTURED,
            PaymentState.SETTLED,
            PaymentState.RETURNING,
            PaymentState.REFUNDING,
            PaymentState.REFUNDED,
        )
    },
}
"""The rules; a legal pair of state and trigger without a rule changes nothing but the state."""


def _void(payment: Payment) -> Void:
    return Void(order_id=payment.order_id, authorisation_no=known(payment.authorisation_no))


def _refund(payment: Payment) -> Refund:
    return Refund(
        order_id=payment.order_id, payment_no=known(payment.payment_no), amount=left_of(payment)
    )


def _declined(payment: Payment, answer: AuthorisationDeclined | CaptureDeclined) -> PaymentDeclined:
    amount = terms_of(payment).amount
    return PaymentDeclined(
        order_id=payment.order_id, code=answer.code, reason=answer.reason, amount=amount
    )
