"""The policy for tax bills, read from a file at start; a bad file is refused with its reason."""

from __future__ import annotations

import tomllib
from datetime import date
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from services.tax.bills.terms import BillPolicy, BillTerms
from shared.errors import Misconfigured
from shared.money import AMOUNT

BILLS: Final = Path(__file__).with_name("bills.toml")


def _fen(value: object) -> int:
    if not isinstance(value, str):
        raise ValueError('write the amount as a decimal string, like "0.50"')
    if not AMOUNT.fullmatch(value):
        raise ValueError('write the amount in digits and a point, like "0.50"')
    minor = Decimal(value) * 100
    if minor != int(minor):
        raise ValueError("an amount has at most two decimals")
    return int(minor)


Amount = Annotated[int, BeforeValidator(_fen), Field(ge=0)]


class TermsRow(BaseModel):
    """One period of the policy as the file has it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    valid_from: date
    booked_at_most: Amount
    person_above: Amount
    pay_from_day: int = Field(ge=1)
    pay_to_day: int = Field(ge=1)
    pay_on_day: int = Field(ge=1)
    missing_on_day: int = Field(ge=1)
    source: str = Field(min_length=1)
    confidence: str = Field(pattern="^(published|secondary|inferred|unverified)$")

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if not self.pay_from_day <= self.pay_on_day <= self.pay_to_day:
            raise ValueError("pay_on_day must lie between pay_from_day and pay_to_day")
        if self.booked_at_most > self.person_above:
            raise ValueError("booked_at_most is more than person_above")
        return self

    def terms(self) -> BillTerms:
        return BillTerms(
            self.booked_at_most,
            self.person_above,
            self.pay_on_day,
            self.pay_to_day,
            self.missing_on_day,
        )


class PolicyFile(BaseModel):
    """The whole file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    terms: tuple[TermsRow, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if any(later.valid_from <= earlier.valid_from for earlier, later in pairwise(self.terms)):
            raise ValueError("terms must stand in the order of their valid_from, each once")
        return self


def load(path: Path = BILLS) -> BillPolicy:
    """Return the policy of a file; raises Misconfigured naming field and reason."""
    try:
        parsed = PolicyFile.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise Misconfigured(f"mend {path.name}: {where}: {first['msg']}") from None
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise Misconfigured(f"mend {path.name}: {error}") from None
    return BillPolicy(tuple((row.valid_from, row.terms()) for row in parsed.terms))
