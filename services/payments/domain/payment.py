"""What may happen to a payment and what follows; pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from uuid import UUID

from services.payments.domain import ledger, returns
from services.payments.domain.bank import (
    AuthorisationDeclined,
    Authorise,
    Authorised,
    BankCommand,
    BankEvent,
    Capture,
    Captured,
    CaptureDeclined,
    ExcessRefunded,
    HoldGone,
    Refund,
    Refunded,
    RefundTax,
    Void,
    Voided,
)
from services.payments.domain.ledger import Movement, Purpose
from shared.events.customs import GoodsReleased
from shared.events.orders import OrderPlaced, OrderUnwinding, ReturnAccepted
from shared.events.payments import (
    MerchantSettled,
    PaymentCaptured,
    PaymentDeclined,
    PaymentRefunded,
    PaymentsEvent,
    PaymentVoided,
    ReturnRefunded,
    TaxRefunded,
)
from shared.money import Money
from shared.transitions import Transitions
from shared.values import replace


class PaymentState(StrEnum):
    """How far a payment is; it ends DECLINED, VOIDED, SETTLED (less what was refunded for goods that came back) or REFUNDED.

    The bank's answer is awaited while AUTHORISING, AUTHORISED (capturing), VOIDING, REFUNDING,
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
    """The bank declined the capture and did it all the same: it is booked and goes back."""


Trigger = OrderPlaced | OrderUnwinding | ReturnAccepted | GoodsReleased | BankEvent


@dataclass(frozen=True, slots=True)
class PaymentTerms:
    """What the order asks for; an order that was undone before it was heard of has none."""

    amount: Money
    tax_withheld: Money
    merchant_code: str
    enterprise_code: str


@dataclass(frozen=True, slots=True)
class ReturnRefund:
    """What goes back for the goods of one return, and whose part each is."""

    return_no: int
    goods: Money
    tax: Money


@dataclass(frozen=True)
class Payment:
    """One order's payment. `version` counts the facts announced; `unwinding`: the order is being undone.

    `refunded` is all that went back so far; `returning` what is asked of the bank for goods that came back.
    `excess`: tax withheld too much that the bank was asked to give back; what is left is given back where the order is undone.
    `returns`: the last return that was heard of. `written_off`: what a person said will not go back.
    `returned_tax`: the withheld tax of all goods that came back, also of those that came too late to get it.
    """

    order_id: UUID
    version: int = 0
    state: PaymentState = PaymentState.UNASKED
    unwinding: bool = False
    terms: PaymentTerms | None = None
    authorisation_no: str | None = None
    payment_no: str | None = None
    captured: Money | None = None
    refund_no: str | None = None
    refunded: Money | None = None
    returning: ReturnRefund | None = None
    excess: Money | None = None
    returns: int = 0
    written_off: Money | None = None
    returned_tax: Money | None = None


@dataclass(frozen=True)
class PaymentDecision:
    """The payment afterwards, and what follows."""

    payment: Payment
    facts: tuple[PaymentsEvent, ...] = ()
    asks: tuple[BankCommand, ...] = ()
    movements: tuple[Movement, ...] = ()


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
        # Released goods came back; of the release orders may have heard first.
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
"""While the order stands."""

_UNDONE: Final = (
    PaymentState.AUTHORISING, PaymentState.AUTHORISED, PaymentState.VOIDING, PaymentState.VOIDED, PaymentState.REFUNDING, PaymentState.REFUNDED,
    PaymentState.GIVING_BACK,
)  # fmt: skip

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
        **{(state, heard): state for state in _UNDONE for heard in (OrderUnwinding, GoodsReleased)},
    }
)
"""Once the order is being undone. An answer still under way is waited for: unknown is not failed."""


def decide(payment: Payment | None, heard: Trigger) -> PaymentDecision:
    """What becomes of a payment, and what follows; raises IllegalTransition for a pair in neither table."""
    before = payment or Payment(heard.order_id)
    table = UNWINDING if before.unwinding else PAYMENT
    state = table.next(before.state, heard)
    decide = _RULES.get((before.state, type(heard)))
    if decide is None:
        return PaymentDecision(before)
    decision = decide(replace(before, state=state), heard)
    return replace(
        decision, payment=replace(decision.payment, version=before.version + len(decision.facts))
    )


def _place(after: Payment, order: OrderPlaced) -> PaymentDecision:
    terms = PaymentTerms(
        order.amount_paid, order.tax_withheld, order.merchant.code, order.payment_enterprise
    )
    ask = Authorise(
        order_id=order.order_id, amount=order.amount_paid, token=order.payment_token, payer=order.payer,
        enterprise_code=order.payment_enterprise,
    )  # fmt: skip
    return PaymentDecision(replace(after, terms=terms), asks=(ask,))


def _authorise(after: Payment, answer: Authorised) -> PaymentDecision:
    after = replace(after, authorisation_no=answer.authorisation_no)
    if after.unwinding:
        return PaymentDecision(after, asks=(_void(after),))
    # A hold is nobody else's affair: it is captured at once, and only that is announced.
    ask = Capture(
        order_id=after.order_id,
        authorisation_no=answer.authorisation_no,
        amount=_terms(after).amount,
    )
    return PaymentDecision(after, asks=(ask,))


def _decline(after: Payment, answer: AuthorisationDeclined) -> PaymentDecision:
    if after.unwinding:
        return PaymentDecision(after, (PaymentVoided(order_id=after.order_id),))
    return PaymentDecision(after, (_declined(after, answer),))


def _capture(after: Payment, answer: Captured) -> PaymentDecision:
    # What the bank took is booked and announced even where it is not what was asked: the match will find it.
    after = replace(after, captured=answer.amount, payment_no=answer.payment_no)
    fact = PaymentCaptured(
        order_id=after.order_id, amount=answer.amount, payment_no=answer.payment_no,
        enterprise_code=answer.enterprise_code or _terms(after).enterprise_code, payer_ref=answer.payer_ref,
        payer_name_digest=answer.payer_name_digest, paid_at=answer.paid_at,
        payer_name_length=answer.payer_name_length, payer_id_length=answer.payer_id_length,
    )  # fmt: skip
    asks = (_refund(after),) if after.unwinding else ()
    return PaymentDecision(after, (fact,), asks, ledger.capture(answer.amount))


def _decline_capture(after: Payment, answer: CaptureDeclined) -> PaymentDecision:
    facts = () if after.unwinding else (_declined(after, answer),)
    return PaymentDecision(after, facts, (_void(after),))


def _settle(after: Payment, _heard: GoodsReleased | ReturnAccepted) -> PaymentDecision:
    terms, captured = _terms(after), _captured(after)
    merchant, tax = ledger.shares(captured, terms.tax_withheld)
    fact = MerchantSettled(
        order_id=after.order_id,
        merchant_code=terms.merchant_code,
        merchant_amount=merchant,
        tax_amount=tax,
    )
    movements = ledger.settle(captured, terms.tax_withheld, terms.merchant_code)
    return PaymentDecision(after, (fact,), movements=movements)


def _mark_unwinding(after: Payment, _heard: OrderUnwinding) -> PaymentDecision:
    return PaymentDecision(replace(after, unwinding=True))


def _end_void(after: Payment, _heard: OrderUnwinding) -> PaymentDecision:
    return PaymentDecision(
        replace(after, unwinding=True), (PaymentVoided(order_id=after.order_id),)
    )


def _refund_all(after: Payment, _heard: OrderUnwinding) -> PaymentDecision:
    after = replace(after, unwinding=True)
    excess = _excess(after)
    # Tax given back already was the buyer's own money, so that much less of it is left to give back.
    moved = ledger.shift(
        Purpose.UNSETTLE_TAX, ledger.BUYER, ledger.TAX_OFFICE, excess.minor, excess.currency
    )
    return PaymentDecision(after, asks=(_refund(after),), movements=moved)


def _settle_and_take_back(after: Payment, heard: ReturnAccepted) -> PaymentDecision:
    """The return is heard of before the release: what came back was released."""
    settled = _settle(after, heard)
    taken = _take_back(settled.payment, heard)
    return PaymentDecision(
        taken.payment, settled.facts + taken.facts, taken.asks, settled.movements + taken.movements
    )


def _take_back(after: Payment, heard: ReturnAccepted) -> PaymentDecision:
    """The buyer gets back the price of the goods, and the tax withheld on them if they came in time."""
    terms = _terms(after)
    captured = _captured(after)
    goods, share = returns.refundable(captured, terms.tax_withheld, heard.lines)
    nothing = Money.zero(goods.currency)
    gone = after.returned_tax or nothing
    if (excess := _excess(after)).minor:
        # Tax given back already, because customs billed less, was of goods that were still sold.
        share = returns.tax_still_withheld(
            ledger.shares(captured, terms.tax_withheld)[1] - excess - gone, heard.lines
        )
    tax = max(nothing, min(share, _left(after) - (after.refunded or nothing) - goods))
    back = ReturnRefund(
        heard.return_no, goods if heard.refund_goods else nothing, tax if heard.in_time else nothing
    )
    after = replace(after, returning=back, returns=heard.return_no, returned_tax=gone + share)
    amount = back.goods + back.tax
    if not amount.minor:
        return _close_return(after, None)
    ask = Refund(
        order_id=after.order_id,
        payment_no=_known(after.payment_no),
        amount=amount,
        return_no=back.return_no,
    )
    return PaymentDecision(
        after,
        asks=(ask,),
        movements=ledger.unsettle(back.goods, back.tax, terms.merchant_code, back.return_no),
    )


def _on_return_refunded(after: Payment, answer: Refunded) -> PaymentDecision:
    back = after.returning
    assert back is not None, "the bank refunds what a return asked for"
    paid, off = _paid(back.goods + back.tax, answer)
    # Where a person wrote some of it off, what went back is the price first.
    goods = min(paid, back.goods)
    total = paid if after.refunded is None else after.refunded + paid
    went = replace(
        after, refunded=total, refund_no=answer.refund_no, written_off=_written_off(after, off),
        returning=ReturnRefund(back.return_no, goods, paid - goods),
    )  # fmt: skip
    closed = _close_return(went, answer.refund_no)
    return replace(closed, movements=_refund_moved(paid, off, answer, back.return_no))


def _paid(asked: Money, answer: Refunded) -> tuple[Money, Money]:
    """What went back of what the bank was asked for, and what a person wrote off."""
    paid = asked if answer.amount is None else answer.amount
    return paid, asked - paid


def _written_off(payment: Payment, off: Money) -> Money | None:
    return (
        (payment.written_off + off if payment.written_off else off)
        if off.minor
        else payment.written_off
    )


def _refund_moved(paid: Money, off: Money, answer: Refunded, part: int = 0) -> tuple[Movement, ...]:
    moved = ledger.refund(paid, part) if paid.minor else ()
    return moved + ledger.write_off(Purpose.WRITE_OFF, ledger.BUYER, answer.account, off, part)


def _close_return(after: Payment, refund_no: str | None) -> PaymentDecision:
    back = after.returning
    assert back is not None, "only a return that is open is closed"
    fact = ReturnRefunded(
        order_id=after.order_id, return_no=back.return_no, amount=back.goods + back.tax, goods_amount=back.goods,
        tax_amount=back.tax, refund_no=refund_no,
    )  # fmt: skip
    return PaymentDecision(
        replace(after, state=PAYMENT.next(PaymentState.RETURNING, fact), returning=None), (fact,)
    )


def _on_void(after: Payment, _answer: Voided | HoldGone) -> PaymentDecision:
    return PaymentDecision(
        after, (PaymentVoided(order_id=after.order_id),) if after.unwinding else ()
    )


def _give_back(after: Payment, answer: Captured) -> PaymentDecision:
    """Book a capture that was announced as declined, and ask for its refund: no fact undoes the decline."""
    after = replace(after, captured=answer.amount, payment_no=answer.payment_no)
    return PaymentDecision(after, (), (_refund(after),), ledger.capture(answer.amount))


def _on_given_back(after: Payment, answer: Refunded) -> PaymentDecision:
    paid, off = _paid(_left(after), answer)
    after = replace(
        after, refunded=paid, refund_no=answer.refund_no, written_off=_written_off(after, off)
    )
    facts = (PaymentVoided(order_id=after.order_id),) if after.unwinding else ()
    return PaymentDecision(after, facts, movements=_refund_moved(paid, off, answer))


def _on_refunded(after: Payment, answer: Refunded) -> PaymentDecision:
    paid, off = _paid(_left(after), answer)
    fact = PaymentRefunded(order_id=after.order_id, amount=paid, refund_no=answer.refund_no)
    after = replace(
        after, refunded=paid, refund_no=answer.refund_no, written_off=_written_off(after, off)
    )
    return PaymentDecision(after, (fact,), movements=_refund_moved(paid, off, answer))


def refund_excess(payment: Payment, amount: Money, turn: int = 0) -> PaymentDecision:
    """Ask the bank to give back tax that was withheld too much; nothing where all is given back anyway.

    `turn` tells one such refund from another, after a return or a corrected bill.
    """
    if payment.unwinding or payment.state not in (
        PaymentState.CAPTURED,
        PaymentState.SETTLED,
        PaymentState.RETURNING,
    ):
        return PaymentDecision(payment)
    ask = RefundTax(
        order_id=payment.order_id, payment_no=_known(payment.payment_no), amount=amount, turn=turn
    )
    return PaymentDecision(replace(payment, excess=_excess(payment) + amount), asks=(ask,))


def _on_excess_refunded(after: Payment, answer: ExcessRefunded) -> PaymentDecision:
    currency = answer.amount.currency
    off = answer.written_off or Money.zero(currency)
    paid = answer.amount - off
    fact = TaxRefunded(order_id=after.order_id, amount=paid, refund_no=answer.refund_no)
    # Out of what stands between withheld and billed, whatever became of the order since.
    moved = ledger.shift(
        Purpose.REFUND_TAX, ledger.SUSPENSE, ledger.BANK, paid.minor, currency, answer.turn
    )
    moved += ledger.write_off(
        Purpose.WRITE_OFF_TAX, ledger.SUSPENSE, answer.account, off, answer.turn
    )
    return PaymentDecision(after, (fact,), movements=moved)


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
    (PaymentState.SETTLED, ReturnAccepted): _take_back,
    (PaymentState.RETURNING, Refunded): _on_return_refunded,
    (PaymentState.DECLINED, OrderUnwinding): _end_void,
    (PaymentState.REFUNDING, Refunded): _on_refunded,
    **{
        (s, ExcessRefunded): _on_excess_refunded
        for s in (
            PaymentState.CAPTURED,
            PaymentState.SETTLED,
            PaymentState.RETURNING,
            PaymentState.REFUNDING,
            PaymentState.REFUNDED,
        )
    },
}
"""What follows where something does; a legal pair that is not here changes nothing."""


def _void(payment: Payment) -> Void:
    return Void(order_id=payment.order_id, authorisation_no=_known(payment.authorisation_no))


def _refund(payment: Payment) -> Refund:
    return Refund(
        order_id=payment.order_id, payment_no=_known(payment.payment_no), amount=_left(payment)
    )


def _declined(payment: Payment, answer: AuthorisationDeclined | CaptureDeclined) -> PaymentDeclined:
    amount = _terms(payment).amount
    return PaymentDeclined(
        order_id=payment.order_id, code=answer.code, reason=answer.reason, amount=amount
    )


def _terms(payment: Payment) -> PaymentTerms:
    assert payment.terms is not None, "only a tombstone has no terms"
    return payment.terms


def _captured(payment: Payment) -> Money:
    assert payment.captured is not None, "nothing was captured"
    return payment.captured


def _excess(payment: Payment) -> Money:
    return payment.excess or Money.zero(_captured(payment).currency)


def _left(payment: Payment) -> Money:
    """What of the captured amount is still to be given back."""
    return _captured(payment) - _excess(payment)


def _known(number: str | None) -> str:
    assert number is not None, "the bank gave no number"
    return number
