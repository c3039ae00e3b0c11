"""Money as integer minor units of an ISO 4217 currency; never a float."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from fractions import Fraction
from functools import lru_cache
from typing import Any, Final, Self

from pydantic import GetCoreSchemaHandler
from pydantic_core import core_schema

# ISO 4217 minor-unit exponents of the currencies this system settles in. Others are refused.
EXPONENTS: Final[dict[str, int]] = {
    "AED": 2, "AUD": 2, "BHD": 3, "BRL": 2, "BYN": 2, "CAD": 2, "CHF": 2, "CLP": 0, "CNY": 2,
    "CZK": 2, "DKK": 2, "EUR": 2, "GBP": 2, "HKD": 2, "HUF": 2, "IDR": 2, "INR": 2, "ISK": 0,
    "JPY": 0, "KRW": 0, "KWD": 3, "KZT": 2, "MOP": 2, "MXN": 2, "MYR": 2, "NOK": 2, "NZD": 2,
    "PHP": 2, "PLN": 2, "RON": 2, "RUB": 2, "SAR": 2, "SEK": 2, "SGD": 2, "THB": 2, "TND": 3,
    "TRY": 2, "TWD": 2, "UAH": 2, "USD": 2, "VND": 0, "ZAR": 2,
}  # fmt: skip

AMOUNT: Final = re.compile(r"-?[0-9]{1,30}(\.[0-9]{1,30})?")
"""An amount as documents write it."""

MINOR_MAX: Final = 10**15
"""Largest single amount in minor units, for every currency: far below PostgreSQL's bigint."""


class MoneyError(ValueError):
    """The amount is no money: no finite decimal, too many decimals, or an unknown currency."""


class CurrencyMismatch(ArithmeticError):
    """Amounts of two currencies were combined."""


@dataclass(frozen=True, slots=True, order=False)
class Money:
    """An amount: `minor` integer minor units (fen, cents) of the ISO 4217 `currency`.

    On the wire it is `{"amount": "425.00", "currency": "CNY"}`, with a decimal string in major
    units.
    """

    minor: int
    currency: str

    def __post_init__(self) -> None:
        if self.currency not in EXPONENTS:
            raise MoneyError(
                f"currency {self.currency!r} is not one of the ISO 4217 currencies supported here"
            )

    @classmethod
    def of(cls, amount: str | Decimal | int, currency: str) -> Self:
        """Convert an amount in major units exactly.

        A text consists of digits and a point, `425.00`. Python reads more as a number: `1e3`,
        `1_000`, blanks, digits of other scripts. No document writes an amount so, and all of these
        are refused. Raises MoneyError for them, for an unknown currency, too many decimals, or more
        than MINOR_MAX.
        """
        exponent = EXPONENTS.get(currency)
        if isinstance(amount, str) and (plain := _plain(amount, exponent or 0)) is not None:
            return cls(plain, currency)
        if exponent is None:
            raise MoneyError(
                f"currency {currency!r} is not one of the ISO 4217 currencies supported here"
            )
        if isinstance(amount, str) and not AMOUNT.fullmatch(amount):
            raise MoneyError(
                f"{amount[:40]!r} is not a decimal amount: expected digits and a point"
            )
        try:
            scaled = Decimal(amount).scaleb(exponent)
        except (InvalidOperation, ValueError) as error:
            raise MoneyError(f"{amount!r} is not a decimal amount") from error
        if not scaled.is_finite() or abs(scaled) > MINOR_MAX:
            raise MoneyError(f"{amount!r} is not a finite amount within the limit")
        minor = int(scaled)
        if scaled != minor:
            raise MoneyError(
                f"{amount!r} has more than {exponent} decimals, which {currency} does not have"
            )
        return cls(minor, currency)

    @classmethod
    def zero(cls, currency: str) -> Self:
        return cls(0, currency)

    @classmethod
    def total(cls, amounts: Iterable[Money], currency: str) -> Self:
        """Return the sum; zero without amounts. Raises CurrencyMismatch for another currency."""
        minor = 0
        for amount in amounts:
            if amount.currency != currency:
                raise CurrencyMismatch(f"{amount.currency} in a sum of {currency}")
            minor += amount.minor
        return cls(minor, currency)

    @property
    def major(self) -> Decimal:
        return Decimal(self.minor).scaleb(-EXPONENTS[self.currency])

    def __str__(self) -> str:
        exponent = EXPONENTS[self.currency]
        if not exponent:
            return str(self.minor)
        # Use integers: every amount on the wire comes here, and Decimal's formatting takes four
        # times as long.
        whole, part = divmod(abs(self.minor), 10**exponent)
        return f"{'-' if self.minor < 0 else ''}{whole}.{part:0{exponent}d}"

    def _same(self, other: Money) -> int:
        if other.currency != self.currency:
            raise CurrencyMismatch(f"{self.currency} and {other.currency}")
        return other.minor

    def __add__(self, other: Money) -> Money:
        return Money(self.minor + self._same(other), self.currency)

    def __sub__(self, other: Money) -> Money:
        return Money(self.minor - self._same(other), self.currency)

    def __neg__(self) -> Money:
        return Money(-self.minor, self.currency)

    def __lt__(self, other: Money) -> bool:
        return self.minor < self._same(other)

    def __le__(self, other: Money) -> bool:
        return self.minor <= self._same(other)

    def __gt__(self, other: Money) -> bool:
        return self.minor > self._same(other)

    def __ge__(self, other: Money) -> bool:
        return self.minor >= self._same(other)

    def times(self, factor: Decimal) -> Money:
        """Multiply by an exact factor. Round half up to the minor unit: the half away from zero."""
        return Money(round_half_up(Decimal(self.minor) * factor), self.currency)

    def share(self, weights: Sequence[int]) -> list[Money]:
        """Split by largest remainder, so that the parts sum to the whole.

        Ties go to the earlier part.

        `weights` are non-negative integers. If all are zero, the whole goes to the first part.
        """
        return [
            Money(part, self.currency) for part in share_by_largest_remainder(self.minor, weights)
        ]

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        wire = core_schema.typed_dict_schema(
            {
                "amount": core_schema.typed_dict_field(core_schema.str_schema(max_length=24)),
                "currency": core_schema.typed_dict_field(
                    core_schema.str_schema(min_length=3, max_length=3)
                ),
            },
            extra_behavior="ignore",
        )
        from_wire = core_schema.no_info_after_validator_function(_from_wire, wire)
        return core_schema.json_or_python_schema(
            json_schema=from_wire,
            python_schema=core_schema.union_schema(
                [core_schema.is_instance_schema(cls), from_wire]
            ),
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda money: {"amount": str(money), "currency": money.currency}, return_schema=wire
            ),
        )


def _from_wire(doc: dict[str, str]) -> Money:
    return _read(doc["amount"], doc["currency"])


@lru_cache(maxsize=4096)
def _read(amount: str, currency: str) -> Money:
    """Cached, since most amounts repeat: zero, a list price, the amount of another record of the
    order.
    """
    return Money.of(amount, currency)


def _plain(amount: str, exponent: int) -> int | None:
    """Return the minor units of an amount in the usual form; None for any other form.

    The usual form is digits with all decimals of the currency.
    """
    if not exponent or amount[-exponent - 1 : -exponent] != ".":
        return None
    whole = amount[: -exponent - 1]
    digits = whole + amount[-exponent:]
    return (
        int(digits)
        if whole and len(digits) <= 15 and digits.isdecimal() and digits.isascii()
        else None
    )


def round_half_up(value: Decimal) -> int:
    """Round to the nearest integer, the half away from zero: customs rounds tax to the fen so."""
    return int(value.to_integral_value(rounding=ROUND_HALF_UP))


def share_by_largest_remainder(whole: int, weights: Sequence[int]) -> list[int]:
    """Return integer parts proportional to `weights`, which sum to `whole` exactly.

    Ties go to the earlier part. If all weights are zero, the whole goes to the first part. Raises
    ValueError if a weight is negative or there is none.

    >>> share_by_largest_remainder(1000, [3333, 3333, 3333])
    [334, 333, 333]
    """
    if not weights or any(weight < 0 for weight in weights):
        raise ValueError("weights must be non-negative and not empty")
    if whole < 0:
        return [-part for part in share_by_largest_remainder(-whole, weights)]
    total = sum(weights)
    if total == 0:
        return [whole, *([0] * (len(weights) - 1))]
    parts = [whole * weight // total for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda i: (-(whole * weights[i] % total), i))
    for i in by_remainder[: whole - sum(parts)]:
        parts[i] += 1
    return parts


def part_between(whole: int, start: Decimal, stop: Decimal, of: Decimal) -> int:
    """Return the part of `whole` for the stretch from `start` to `stop` of a quantity `of`.

    The part is an integer in the unit of `whole`. Each end is rounded half up by itself, so
    consecutive stretches sum to the whole exactly, however many. Raises ValueError unless 0 <=
    start <= stop <= of and `of` is positive.

    >>> [part_between(100, Decimal(n), Decimal(n + 1), Decimal(3)) for n in range(3)]
    [33, 34, 33]
    """
    if not 0 <= start <= stop <= of or of <= 0:
        raise ValueError("a stretch must lie within a quantity of more than none")

    def upto(quantity: Decimal) -> int:
        return math.floor(Fraction(whole) * Fraction(quantity) / Fraction(of) + Fraction(1, 2))

    return upto(stop) - upto(start)
