"""What the app gives to the handlers of payments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from services.payments.customs_debt.deposit_policy import DepositPolicy, load
from shared.clock import beijing_date, utc_now
from shared.money import Money


@dataclass(frozen=True)
class Deps:
    deposits: DepositPolicy = field(default_factory=load)
    now: Callable[[], datetime] = utc_now

    @property
    def deposit(self) -> Money:
        """The deposit that the policy demands today, Beijing time."""
        return self.deposits.on(beijing_date(self.now()))
