"""Export orders and their options, read from files; every fault is reported."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import Field

from services.cli.connect import UsageError
from services.cli.fault_sentences import FieldFault
from services.cli.tax.field_types import Count, CountryCode, Decimals, HsCode, LineNo, Time
from services.cli.tax.order_days import option_decimal, timed
from services.cli.tax.order_files import Part, read
from services.cli.tax.raw_document import Document
from services.tax.rulebook.tariff import Nomenclature
from shared.money import Money, MoneyError

LINES_MAX = 1000
"""Lines of one order in a file; customs takes 100, a question may have more."""

Share = Annotated[Decimals, Field(le=10)]


class ExportLine(Part):
    """A line of an export order.

    `duty_rate` and `vat_rate` of the destination are needed where no rule file has them. `purchase`
    is the price in CNY without VAT on the special invoice of the goods.
    """

    line_no: LineNo
    hs_code: HsCode
    origin: CountryCode
    quantity: Count
    total: Decimals
    net_weight_kg: Decimals = Decimal(0)
    duty_rate: Share | None = None
    vat_rate: Annotated[Decimals, Field(le=1)] | None = None
    purchase: Decimals | None = None

    @property
    def hs(self) -> str:
        return self.hs_code.replace(".", "")


class Exporter(Part):
    code: str | None = None
    country: CountryCode | None = None


class Receiver(Part):
    country: CountryCode


class LandedInput(Part):
    """What a landed cost needs besides the order."""

    channel: str | None = None
    ioss: str | None = None
    earlier_value: Decimals | None = None
    earlier_weight_kg: Decimals = Decimal(0)


class ExportOrder(Part):
    """An order that leaves China."""

    order_no: str | None = None
    placed_at: Time | None = None
    direction: str = "export"
    mode: str = "9610"
    merchant: Exporter = Exporter()
    consignee: Receiver
    currency: str
    lines: tuple[ExportLine, ...] = Field(min_length=1, max_length=LINES_MAX)
    goods_value: Decimals | None = None
    freight: Decimals = Decimal(0)
    insurance: Decimals = Decimal(0)
    discount: Decimals = Decimal(0)
    landed: LandedInput = LandedInput()
    export: dict[str, Any] = Field(default_factory=dict)


class Reading(NamedTuple):
    """What reading an export order needs: codes that exist, modes of exports, the day if given."""

    known: Nomenclature | None
    modes: Sequence[str]
    at: str | None

    @classmethod
    def of(cls, folder: Path, at: str | None) -> Reading:
        """Return the rules of a folder, those of this release where it has none of a kind."""
        from services.tax.exports.files import load_export_modes
        from services.tax.rulebook.files import load_nomenclature

        return cls(load_nomenclature(folder), load_export_modes(folder), at)

    def order(self, name: str, text: str) -> ExportOrder:
        """Return an export order from its JSON; raises Unread with every fault."""
        return read(name, text, ExportOrder, self.known, timed(self.at), self._way, wrong_facts)

    def _way(self, document: Document) -> Iterator[FieldFault]:
        direction, mode = document.get("direction", "export"), document.get("mode", "9610")
        if isinstance(direction, str) and direction != "export":
            yield FieldFault(
                "direction",
                "one_of",
                repr(direction),
                "'export': `crossborder tax assess` takes imports",
            )
        if isinstance(mode, str) and mode not in self.modes:
            yield FieldFault(
                "mode", "one_of", repr(mode), f"a mode of exports: {', '.join(self.modes)}"
            )


def wrong_facts(document: Document) -> Iterator[FieldFault]:
    from services.tax.exports.domain import check_facts

    facts = document.get("export")
    for name, value in facts.items() if isinstance(facts, dict) else ():
        try:
            check_facts({name: value})
        except ValueError as error:
            actual = repr(value) if isinstance(value, str | bool) else type(value).__name__
            yield FieldFault(
                f"export.{name}",
                "is_fact",
                actual[:60],
                str(error).removeprefix(f"{name}: expected "),
            )


def money(field: str, amount: Decimal, currency: str) -> Money:
    """Return the amount of a field; raises UsageError naming it."""
    try:
        return Money.of(amount, currency)
    except MoneyError as error:
        raise UsageError(
            str(error) if str(error).startswith("currency") else f"{field}: {error}"
        ) from None


def named_decimals(option: str, given: Sequence[str]) -> dict[str, Decimal]:
    """Return NAME=NUMBER options, each above zero; raises UsageError."""
    by_name: dict[str, Decimal] = {}
    for text in given:
        name, _, number = text.partition("=")
        value = option_decimal(number)
        if not name or value is None or value <= 0:
            raise UsageError(f"{option}: {text!r} is not like USD=0.92")
        if name in by_name:
            raise UsageError(f"{option}: {name} is there twice")
        by_name[name] = value
    return by_name
