"""The metrics of payments: known labels start at 0, counts follow the commit, gauges read the
tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from services.payments import store
from services.payments.customs_debt import deposit
from shared import metrics
from shared.database import Connection
from shared.events.payments import (
    MerchantSettled,
    PaymentCaptured,
    PaymentDeclined,
    PaymentRefunded,
    PaymentVoided,
    ReturnRefunded,
)
from shared.money import Money
from shared.subscriptions import EmittedEvent

COMMAND_KINDS: Final = ("authorise", "capture", "void", "refund", "refund_tax", "transfer")


OUTCOMES: Final[dict[type, str]] = {
    PaymentCaptured: "captured",
    PaymentDeclined: "declined",
    PaymentVoided: "voided",
    PaymentRefunded: "refunded",
    MerchantSettled: "settled",
}


def observe(events: Sequence[EmittedEvent]) -> None:
    for emitted in events:
        if outcome := OUTCOMES.get(type(emitted.event)):
            metrics.PAYMENTS.labels(outcome).inc()
        match emitted.event:
            case PaymentCaptured(amount=amount):
                _count(amount, "captured")
            case PaymentRefunded(amount=amount) | ReturnRefunded(amount=amount):
                _count(amount, "refunded")
            case PaymentDeclined(amount=Money() as amount):
                _count(amount, "declined")


def _count(amount: Money, outcome: str) -> None:
    metrics.CAPTURED.labels(amount.currency, outcome).inc(amount.minor)


def begin() -> None:
    operations = metrics.OPERATIONS["bank"]
    metrics.PARTY_CALLS.begin(("bank",), operations, metrics.CALL_OUTCOMES)
    metrics.PARTY_SECONDS.begin(("bank",), operations)
    for gauge in (
        metrics.PARTY_LAST_SUCCESS,
        metrics.PARTY_IN_FLIGHT,
        metrics.PARTY_PENDING,
        metrics.PARTY_PENDING_OLDEST,
    ):
        gauge.begin(("bank",))
    metrics.EFFECTS.begin(("payments",), COMMAND_KINDS, metrics.EFFECT_OUTCOMES)
    metrics.EFFECT_SECONDS.begin(("payments",), COMMAND_KINDS)
    metrics.PAYMENTS.begin(OUTCOMES.values())
    metrics.CAPTURED.begin(metrics.CURRENCIES, ("captured", "refunded", "declined"))
    metrics.LEDGER_IMBALANCE.begin(metrics.CURRENCIES)


async def measure(conn: Connection) -> None:
    await deposit.gauges(conn)
    pending, oldest = await store.count_unanswered(conn)
    metrics.PARTY_PENDING.labels("bank").set(pending)
    metrics.PARTY_PENDING_OLDEST.labels("bank").set(oldest.timestamp() if oldest else 0)
    sums: Counter[str] = Counter()
    for account, currency, minor in await store.balances(conn):
        metrics.LEDGER_BALANCE.labels(account, currency).set(minor)
        sums[currency] += minor
    for currency, minor in sums.items():
        metrics.LEDGER_IMBALANCE.labels(currency).set(minor)
