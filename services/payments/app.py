"""Settings and wiring of payments."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from services.payments import reactions
from services.payments.gateway import HttpBank
from services.payments.invariants import INVARIANTS
from services.payments.teller import Teller
from shared import topics
from shared.sealing import Sealing
from shared.service import Wiring, main
from shared.settings import Settings


class PaymentsSettings(Settings):
    """Settings of payments."""

    bank_url: str = Field("http://127.0.0.1:8110", pattern="^https?://", description="where the bank answers")


async def wire(settings: PaymentsSettings, pool: Any) -> Wiring:
    """Put payments together."""
    sealing = Sealing.from_dir(settings.keys_dir)
    bank = HttpBank(settings.bank_url)
    return Wiring(
        name="payments", topic=topics.PAYMENTS, hears=reactions.HEARS, deps=None, sealing=sealing,
        observe=reactions.observe, perform=Teller(bank, sealing, pool).perform, settle=reactions.settle,
        closing=(bank.close,), invariants=INVARIANTS,
    )  # fmt: skip


if __name__ == "__main__":
    main("payments", PaymentsSettings, wire)
