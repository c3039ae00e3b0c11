"""What the simulation can take away from the system, to show that it would see a bug there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from services.customs.domain import cancellation, documents, replies
from services.orders.domain import decisions as orders
from services.payments.domain import decisions as payment_decisions
from services.tax.bills import domain as bills
from services.tax.domain import batch


@dataclass(frozen=True)
class Sabotage:
    """The system as it is, unless something is replaced. The functions are the domains' own."""

    inbox: bool = True
    outbox: bool = True
    same_key: bool = True
    lease_fence: bool = True
    orders: Callable[..., Any] = orders.decide
    payments: Callable[..., Any] = payment_decisions.decide
    tax: Callable[..., Any] = batch.decide_all
    collect: Callable[..., Any] = documents.apply_document
    withdraw: Callable[..., Any] = cancellation.apply_withdrawal
    stop: Callable[..., Any] = cancellation.apply_unwinding
    answer: Callable[..., Any] = replies.apply_reply
    bill: Callable[..., Any] = bills.decide
    book: Callable[[Any], Any] = lambda entries: entries
    frees: bool = True
    shares_out: bool = True


NONE = Sabotage()
