"""The amount of the deposit at customs by day: dated data, deposit.toml."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

from shared.errors import Misconfigured
from shared.money import Money, MoneyError

POLICY: Final = Path(__file__).with_name("deposit.toml")


@dataclass(frozen=True, slots=True)
class DepositPolicy:
    """Amounts of the deposit, each from its day on, the oldest first."""

    rows: tuple[tuple[date, Money], ...]

    def on(self, day: date) -> Money:
        return next(
            (amount for valid_from, amount in reversed(self.rows) if valid_from <= day),
            self.rows[0][1],
        )


def load(path: Path = POLICY) -> DepositPolicy:
    """Return the policy of a file. Raises Misconfigured with the fault."""
    try:
        rows = tomllib.loads(path.read_text(encoding="utf-8"))["deposit"]
        deposits = tuple(
            (row["valid_from"], Money.of(row["amount"], row["currency"]))
            for row in rows
            if row["source"]
        )
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError, MoneyError) as error:
        raise Misconfigured(f"mend {path.name}: {type(error).__name__}: {error}") from None
    days = [day for day, _ in deposits]
    if (
        not deposits
        or days != sorted(set(days))
        or any(amount.minor < 0 or amount.currency != "CNY" for _, amount in deposits)
    ):
        raise Misconfigured(
            f"mend {path.name}: deposits are in CNY, not below zero, "
            "each from a later day than the one before"
        )
    return DepositPolicy(deposits)
