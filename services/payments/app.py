"""Settings and wiring of payments."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from pydantic import Field

from services.payments import handlers, store
from services.payments.bank_commands.sender import Teller
from services.payments.cases import KINDS
from services.payments.customs_debt import deposit
from services.payments.customs_debt.deposit import Deps
from services.payments.gateway import HttpBank
from services.payments.invariants import INVARIANTS
from shared import metrics, topics
from shared.database import Connection
from shared.sealing import Sealing
from shared.service import Timer, Wiring, main
from shared.settings import Settings

GUARANTEE_EVERY_S: Final = 2.0


class PaymentsSettings(Settings):
    """Settings of payments."""

    bank_url: str = Field("http://127.0.0.1:8110", pattern="^https?://", description="where the bank answers")


async def wire(settings: PaymentsSettings, pool: Any) -> Wiring:
    """Put payments together."""
    sealing = Sealing.from_dir(settings.keys_dir)
    bank = HttpBank(settings.bank_url)
    begin()
    return Wiring(
        name="payments", topic=topics.PAYMENTS, hears=handlers.HEARS, deps=Deps(), sealing=sealing,
        observe=handlers.observe, perform=Teller(bank, sealing, pool).perform, settle=handlers.settle,
        closing=(bank.close,), gauges=measure, timers=(Timer("guarantee", GUARANTEE_EVERY_S, deposit.tend),),
        invariants=INVARIANTS, case_kinds=KINDS,
    )  # fmt: skip


def begin() -> None:
    """Make the children that are known beforehand, at 0."""
    operations = metrics.OPERATIONS["bank"]
    metrics.PARTY_CALLS.begin(("bank",), operations, metrics.CALL_OUTCOMES)
    metrics.PARTY_SECONDS.begin(("bank",), operations)
    for gauge in (metrics.PARTY_LAST_SUCCESS, metrics.PARTY_IN_FLIGHT, metrics.PARTY_PENDING, metrics.PARTY_PENDING_OLDEST):
        gauge.begin(("bank",))
    metrics.EFFECTS.begin(("payments",), handlers.ASKED, metrics.EFFECT_OUTCOMES)
    metrics.EFFECT_SECONDS.begin(("payments",), handlers.ASKED)
    metrics.PAYMENTS.begin(handlers.OUTCOMES.values())
    metrics.CAPTURED.begin(metrics.CURRENCIES, ("captured", "refunded", "declined"))
    metrics.LEDGER_IMBALANCE.begin(metrics.CURRENCIES)


async def measure(conn: Connection) -> None:
    """Set the gauges of the books, of the deposit, and of what the bank owes an answer."""
    await deposit.gauges(conn)
    asked, oldest = await store.count_asked(conn)
    metrics.PARTY_PENDING.labels("bank").set(asked)
    metrics.PARTY_PENDING_OLDEST.labels("bank").set(oldest.timestamp() if oldest else 0)
    sums: Counter[str] = Counter()
    for account, currency, minor in await store.balances(conn):
        metrics.LEDGER_BALANCE.labels(account, currency).set(minor)
        sums[currency] += minor
    for currency, minor in sums.items():
        metrics.LEDGER_IMBALANCE.labels(currency).set(minor)


if __name__ == "__main__":
    main("payments", PaymentsSettings, wire)
