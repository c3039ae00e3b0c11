"""Handlers of tax's events and of transfers to customs: lock, apply, save, keep the deposit
right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID, uuid5

from services.payments import store
from services.payments.customs_debt import deposit, tax_due
from services.payments.customs_debt import store as debt_store
from services.payments.customs_debt.allocation import LedgerPosition
from services.payments.customs_debt.batch import DebtBatch
from services.payments.customs_debt.tax_due import TaxDue
from services.payments.deps import Deps
from services.payments.domain import ledger
from services.payments.domain.bank import BankCommand, Transfer, Transferred
from services.payments.domain.ledger import JournalEntry
from services.payments.domain.payment import Payment
from shared.database import Connection
from shared.effects import Reply
from shared.envelope import Message
from shared.events.payments import TaxPaid
from shared.events.tax import TaxBillCorrected, TaxBillDue, TaxBillSettled, TaxPosted, TaxRestored
from shared.money import Money
from shared.subscriptions import EmittedEvent, OutboundCommand, Outcome
from shared.values import replace

TAX_FACTS: Final = (TaxPosted, TaxRestored, TaxBillSettled, TaxBillCorrected, TaxBillDue)


async def handle_tax_events(conn: Connection, batch: Sequence[Message], deps: Deps) -> Outcome:
    """Book what was assessed and billed, and pay payment books that are complete.

    The one row of the deposit is locked last, until the end of the transaction.
    """
    payments = await store.lock(conn, {m.order_id for m in batch})
    with_due = {m.order_id for m in batch if not isinstance(m.event, TaxPosted)}
    dues = await debt_store.lock(conn, with_due) if with_due else {}
    debts = DebtBatch(dict(payments), dict(dues), await _positions(conn, batch, payments))
    for m in batch:
        debts.apply(m)
    await store.save(conn, payments, debts.changed_payments(payments))
    await debt_store.save(conn, debts.changed_dues(dues))
    await store.book(conn, debts.entries)
    outcome = Outcome(
        commands=[outbound(command, traceparent) for command, traceparent in debts.commands]
    )
    outcome.commands += await _transfers(conn, debts)
    await deposit.reserve(conn, deps, list(debts.uncovered_demands()))
    if debts.freed:
        await deposit.release(conn, debts.freed)
    return outcome


async def _transfers(conn: Connection, debts: DebtBatch) -> list[OutboundCommand]:
    commands = []
    for (payment_id, book, bills), amounts in sorted(debts.handed_over.items()):
        amount = Money.total(amounts, amounts[0].currency)
        if total := await debt_store.gather(conn, payment_id, book, bills, amount, len(amounts)):
            transfer = Transfer(order_id=payment_id, payment_book=book, amount=total)
            commands.append(outbound(transfer, None))
    return commands


async def _positions(
    conn: Connection, batch: Sequence[Message], payments: Mapping[UUID, Payment]
) -> dict[UUID, LedgerPosition]:
    """Read the ledger of orders with a return or a corrected bill; the others need none."""
    order_ids = {order_id for order_id, payment in payments.items() if payment.returns}
    order_ids |= {m.order_id for m in batch if _has_return(m.event)}
    # Tax may announce returned goods before orders does.
    unknown = {m.order_id for m in batch if isinstance(m.event, TaxBillSettled)} - order_ids
    if unknown:
        order_ids |= await debt_store.restored_among(conn, unknown)
    empty = {order_id: LedgerPosition() for order_id in order_ids}
    return empty | await debt_store.ledger_positions(conn, order_ids)


def _has_return(event: object) -> bool:
    if isinstance(event, TaxBillSettled):
        return bool(event.returns)
    return isinstance(event, TaxRestored | TaxBillCorrected)


async def reallocate(
    conn: Connection,
    returned: Mapping[UUID, tuple[UUID, bytes | None]],
    payments: dict[UUID, Payment],
) -> DebtBatch:
    """Allocate the differences of billed orders anew, after refunds of returns were decided.

    `returned` has the cause and traceparent of each order. The caller has locked the payments and
    booked the refunds, and books and saves what this returns; `payments` is changed in place.
    """
    dues = await debt_store.lock(conn, list(returned))
    debts = DebtBatch(payments, dict(dues), await debt_store.ledger_positions(conn, list(dues)))
    for order_id in dues:
        cause, traceparent = returned[order_id]
        debts.reallocate(cause, order_id, traceparent)
    await debt_store.save(conn, debts.changed_dues(dues))
    return debts


def outbound(command: BankCommand, traceparent: bytes | None) -> OutboundCommand:
    if traceparent is not None:
        command = command.model_copy(update={"traceparent": traceparent.decode("latin-1")})
    # New holds come last: in a burst, orders are paid one by one, not all held first.
    return OutboundCommand(
        command.intent_id,
        command.order_id,
        command.kind,
        command.model_dump_json().encode(),
        priority=command.kind != "authorise",
    )


async def handle_transfers(conn: Connection, replies: Sequence[Reply]) -> Outcome:
    """Mark every bill of a paid payment book as paid, and free its part of the deposit."""
    transfers = {r.answer.order_id: r.answer for r in replies if isinstance(r.answer, Transferred)}
    # Lock payments, then dues, then transfers, then the deposit, as `handle_tax_events` does.
    payments = await store.lock(conn, await debt_store.orders_of(conn, transfers))
    locked = await debt_store.lock(conn, payments)
    made = await debt_store.payments_made(
        conn, {payment_id: t.transfer_no for payment_id, t in transfers.items()}
    )
    outcome, entries, paid = Outcome(), list[JournalEntry](), list[TaxDue]()
    announced: list[Payment] = []
    for due in locked.values():
        if due.payment_id is None or due.payment_id not in made:
            continue
        transfer, payment = transfers[due.payment_id], payments[due.order_id]
        after, movements = tax_due.pay(due, transfer)
        paid.append(after)
        # One transfer pays many bills; each order's part is a transaction of its own.
        cause = uuid5(due.payment_id, str(due.order_id))
        for movement in movements:
            entries += ledger.entries(cause, due.order_id, movement)
        announced.append(replace(payment, version=payment.version + 1))
        event = _paid_event(due, transfer)
        outcome.facts.append(EmittedEvent(event, due.payment_id, payment.version + 1))
    await debt_store.save(conn, paid)
    await store.save(conn, payments, announced)
    await store.book(conn, entries)
    await deposit.release(conn, [due.order_id for due in paid])
    return outcome


def _paid_event(due: TaxDue, transfer: Transferred) -> TaxPaid:
    return TaxPaid(
        order_id=due.order_id,
        tax_no=due.tax_no,
        payment_book=due.payment_book or "",
        amount=due.billed,
        transfer_no=transfer.transfer_no,
    )
