"""Refunds of returned goods, and of tax that was withheld too much."""

from __future__ import annotations

from services.payments.domain import ledger, returns
from services.payments.domain.bank import ExcessRefunded, Refund, Refunded, RefundTax
from services.payments.domain.ledger import Movement, Purpose
from services.payments.domain.payment import (
    Payment,
    PaymentDecision,
    ReturnRefund,
    captured_of,
    excess_of,
    known,
    left_of,
    terms_of,
)
from services.payments.domain.payment_states import PAYMENT, PaymentState
from shared.events.orders import ReturnAccepted
from shared.events.payments import ReturnRefunded, TaxRefunded
from shared.money import Money
from shared.values import replace

_HAS_MONEY = (PaymentState.CAPTURED, PaymentState.SETTLED, PaymentState.RETURNING)


def take_back(after: Payment, event: ReturnAccepted) -> PaymentDecision:
    """Refund the price of the goods, and the tax withheld on them if they came back in time."""
    terms = terms_of(after)
    captured = captured_of(after)
    goods, share = returns.refundable(captured, terms.tax_withheld, event.lines)
    zero = Money.zero(goods.currency)
    returned_tax = after.returned_tax or zero
    if (excess := excess_of(after)).minor:
        # Excess tax was refunded because customs billed less: it belonged to goods still sold then.
        share = returns.tax_still_withheld(
            ledger.shares(captured, terms.tax_withheld)[1] - excess - returned_tax, event.lines
        )
    tax = max(zero, min(share, left_of(after) - (after.refunded or zero) - goods))
    back = ReturnRefund(
        event.return_no, goods if event.refund_goods else zero, tax if event.in_time else zero
    )
    after = replace(
        after, returning=back, returns=event.return_no, returned_tax=returned_tax + share
    )
    amount = back.goods + back.tax
    if not amount.minor:
        return _close_return(after, None)
    ask = Refund(
        order_id=after.order_id,
        payment_no=known(after.payment_no),
        amount=amount,
        return_no=back.return_no,
    )
    return PaymentDecision(
        after,
        asks=(ask,),
        movements=ledger.unsettle(back.goods, back.tax, terms.merchant_code, back.return_no),
    )


def on_return_refunded(after: Payment, answer: Refunded) -> PaymentDecision:
    back = after.returning
    assert back is not None, "the bank refunds what a return asked for"
    paid, off = paid_of(back.goods + back.tax, answer)
    # After a write-off, what was paid counts as price first.
    goods = min(paid, back.goods)
    total = paid if after.refunded is None else after.refunded + paid
    refunded = replace(
        after,
        refunded=total,
        refund_no=answer.refund_no,
        written_off=written_off_of(after, off),
        returning=ReturnRefund(back.return_no, goods, paid - goods),
    )
    closed = _close_return(refunded, answer.refund_no)
    return replace(closed, movements=refund_movements(paid, off, answer, back.return_no))


def paid_of(requested: Money, answer: Refunded) -> tuple[Money, Money]:
    paid = requested if answer.amount is None else answer.amount
    return paid, requested - paid


def written_off_of(payment: Payment, off: Money) -> Money | None:
    if not off.minor:
        return payment.written_off
    return payment.written_off + off if payment.written_off else off


def refund_movements(
    paid: Money, off: Money, answer: Refunded, part: int = 0
) -> tuple[Movement, ...]:
    moved = ledger.refund(paid, part) if paid.minor else ()
    return moved + ledger.write_off(Purpose.WRITE_OFF, ledger.BUYER, answer.account, off, part)


def _close_return(after: Payment, refund_no: str | None) -> PaymentDecision:
    back = after.returning
    assert back is not None, "only a return that is open is closed"
    event = ReturnRefunded(
        order_id=after.order_id,
        return_no=back.return_no,
        amount=back.goods + back.tax,
        goods_amount=back.goods,
        tax_amount=back.tax,
        refund_no=refund_no,
    )
    return PaymentDecision(
        replace(after, state=PAYMENT.next(PaymentState.RETURNING, event), returning=None), (event,)
    )


def refund_excess(payment: Payment, amount: Money, revision: int = 0) -> PaymentDecision:
    """Ask the bank to refund tax that was withheld too much; nothing if all is refunded anyway.

    `revision` distinguishes the refunds of one order after returns and corrected bills.
    """
    if payment.unwinding or payment.state not in _HAS_MONEY:
        return PaymentDecision(payment)
    ask = RefundTax(
        order_id=payment.order_id,
        payment_no=known(payment.payment_no),
        amount=amount,
        revision=revision,
    )
    return PaymentDecision(replace(payment, excess=excess_of(payment) + amount), asks=(ask,))


def on_excess_refunded(after: Payment, answer: ExcessRefunded) -> PaymentDecision:
    currency = answer.amount.currency
    off = answer.written_off or Money.zero(currency)
    paid = answer.amount - off
    event = TaxRefunded(order_id=after.order_id, amount=paid, refund_no=answer.refund_no)
    # Out of suspense, whatever became of the order since.
    moved = ledger.shift(
        Purpose.REFUND_TAX, ledger.SUSPENSE, ledger.BANK, paid.minor, currency, answer.revision
    )
    moved += ledger.write_off(
        Purpose.WRITE_OFF_TAX, ledger.SUSPENSE, answer.account, off, answer.revision
    )
    return PaymentDecision(after, (event,), movements=moved)
