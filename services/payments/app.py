"""The payments service."""

from __future__ import annotations

from typing import Any, Final

from pydantic import Field

from services.payments import handlers
from services.payments.bank_commands.sender import BankSender
from services.payments.cases import KINDS
from services.payments.customs_debt import deposit
from services.payments.deps import Deps
from services.payments.http_bank import HttpBank
from services.payments.invariants import INVARIANTS
from services.payments.metrics import begin, measure, observe
from shared import topics
from shared.sealing import Sealing
from shared.service import Timer, Wiring, main
from shared.settings import Settings

GUARANTEE_EVERY_S: Final = 2.0


class PaymentsSettings(Settings):
    bank_url: str = Field(
        "http://127.0.0.1:8110", pattern="^https?://", description="where the bank answers"
    )


async def wire(settings: PaymentsSettings, pool: Any) -> Wiring:
    sealing = Sealing.from_dir(settings.keys_dir)
    bank = HttpBank(settings.bank_url)
    begin()
    return Wiring(
        name="payments",
        topic=topics.PAYMENTS,
        subscriptions=handlers.SUBSCRIPTIONS,
        deps=Deps(),
        sealing=sealing,
        observe=observe,
        send=BankSender(bank, sealing, pool).send,
        record_replies=handlers.handle_replies,
        closing=(bank.close,),
        gauges=measure,
        timers=(Timer("guarantee", GUARANTEE_EVERY_S, deposit.reconcile),),
        invariants=INVARIANTS,
        case_kinds=KINDS,
    )


if __name__ == "__main__":
    main("payments", PaymentsSettings, wire)
