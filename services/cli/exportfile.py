"""What of a submission matters to an export: read from a file, every wrong field named."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from services.cli.connect import Wrong
from services.tax.domain.assessment import beijing_date
from shared.money import Money, MoneyError

LINES_MAX = 1000
"""Lines of one file's order; customs takes 100, a question may be larger."""

Model = TypeVar("Model", bound=BaseModel)


def _decimal_string(value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError('write it as a decimal string, like "12.00"')
    return value


Decimals = Annotated[Decimal, BeforeValidator(_decimal_string), Field(ge=0, allow_inf_nan=False, max_digits=24)]
Count = Annotated[Decimals, Field(gt=0)]
Share = Annotated[Decimals, Field(le=10)]


class Part(BaseModel):
    """A part of a file; what it does not know is ignored, as everywhere in submissions."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class ExportLine(Part):
    """A line; `duty_rate` and `vat_rate` of the destination are asked for where no rule file has them, `purchase` is the price in CNY
    without VAT on the special invoice of the goods."""

    line_no: int = Field(ge=1)
    hs_code: str = Field(pattern=r"^\d[\d.]{3,12}$")
    origin: str = Field(pattern="^[A-Z]{2}$")
    quantity: Count
    total: Decimals
    net_weight_kg: Decimals = Decimal(0)
    duty_rate: Share | None = None
    vat_rate: Share | None = None
    purchase: Decimals | None = None

    @property
    def hs(self) -> str:
        return self.hs_code.replace(".", "")


class Seller(Part):
    """Who sells."""

    code: str | None = None
    country: str | None = Field(None, pattern="^[A-Z]{2}$")


class Receiver(Part):
    """Where the parcel goes."""

    country: str = Field(pattern="^[A-Z]{2}$")


class LandedInput(Part):
    """What a landed cost depends on besides the order."""

    channel: str | None = None
    ioss: str | None = None
    earlier_value: Decimals | None = None
    earlier_weight_kg: Decimals = Decimal(0)


class ExportOrder(Part):
    """An order that leaves China."""

    order_no: str | None = None
    placed_at: datetime | None = None
    direction: str = "export"
    mode: str = "9610"
    merchant: Seller = Seller()
    consignee: Receiver
    currency: str
    lines: tuple[ExportLine, ...] = Field(min_length=1, max_length=LINES_MAX)
    goods_value: Decimals | None = None
    freight: Decimals = Decimal(0)
    insurance: Decimals = Decimal(0)
    discount: Decimals = Decimal(0)
    landed: LandedInput = LandedInput()
    export: dict[str, Any] = Field(default_factory=dict)


def read_text(file: Path) -> str:
    """The file, or stdin for `-`; raises Wrong."""
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except OSError as error:
        raise Wrong(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Wrong(f"{file} is not UTF-8 text") from None


def parsed(name: str, text: str, shape: type[Model]) -> Model:
    """A JSON document of that shape; raises Wrong naming the first field that is wrong, never its value."""
    try:
        return shape.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        at = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
        raise Wrong(f"{name}: {at or 'the file'}: {first['msg'].removeprefix('Value error, ')}") from None


def export_order(file: Path) -> ExportOrder:
    """The export order of a file; raises Wrong where it is none, or its amounts do not add up."""
    order = parsed(str(file), read_text(file), ExportOrder)
    if order.direction != "export":
        raise Wrong(f"{file}: direction: expected 'export', found {order.direction!r}; `crossborder tax assess` takes imports")
    goods = Money.total(
        (money(f"lines[{i}].total", line.total, order.currency) for i, line in enumerate(order.lines)), order.currency
    )
    if order.goods_value is not None and money("goods_value", order.goods_value, order.currency) != goods:
        raise Wrong(f"{file}: goods_value: {order.goods_value} is not the sum of the lines' totals, {goods}")
    return order


def money(field: str, amount: Decimal, currency: str) -> Money:
    """An amount of a field; raises Wrong naming it."""
    try:
        return Money.of(amount, currency)
    except MoneyError as error:
        raise Wrong(str(error) if str(error).startswith("currency") else f"{field}: {error}") from None


def day_of(order: ExportOrder, at: str | None) -> date:
    """The day by `--at`, else the Beijing day the order was placed; raises Wrong where neither tells."""
    if at is None:
        if order.placed_at is None or order.placed_at.tzinfo is None:
            raise Wrong("placed_at: give a time with its offset, or the day by --at")
        return beijing_date(order.placed_at)
    try:
        return date.fromisoformat(at)
    except ValueError:
        raise Wrong(f"--at: {at!r} is not a day like 2026-11-23") from None


def named_decimals(option: str, given: Sequence[str]) -> dict[str, Decimal]:
    """NAME=NUMBER options, each above zero; raises Wrong."""
    found: dict[str, Decimal] = {}
    for text in given:
        name, _, number = text.partition("=")
        try:
            value = Decimal(number)
        except InvalidOperation:
            value = Decimal(0)
        # Bounded, so that no exponent makes a number of a billion digits.
        if not name or not value.is_finite() or value <= 0 or abs(value.adjusted()) > 12 or len(value.as_tuple().digits) > 24:
            raise Wrong(f"{option}: {text!r} is not like USD=0.92")
        found[name] = value
    return found
