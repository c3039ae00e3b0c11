"""`crossborder tax assess`: what an order owes, from a file, without a running stack."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from pydantic import Field

from services.cli.connect import Exit, UsageError, as_json, exit_with, print_err, stdout
from services.cli.tax import export
from services.cli.tax.order_files import (
    Count,
    CountryCode,
    Decimals,
    HsCode,
    LineNo,
    Part,
    Time,
    answer_many,
    bytes_of,
    day_of,
    decoded,
    is_many,
    option_decimal,
    read,
    timed,
)
from services.tax.domain.assessment import (
    Assessable,
    AssessableLine,
    AssessedLine,
    Assessment,
    Refusal,
    assess,
)
from services.tax.rulebook.files import RULES, load
from shared.events.orders import Direction, NetContent
from shared.money import Money, MoneyError

if TYPE_CHECKING:
    from services.tax.rulebook.book import Rulebook


LINES_MAX: Final = 1000
"""Lines of one file's order; customs takes 99, a question may be larger."""


AMOUNTS: Final = ("duty", "consumption_tax", "vat", "parcel_tax", "total", "payable")


OF_A_LINE: Final = ("dutiable_value", "duty", "consumption_tax", "vat", "parcel_tax")


class SubmittedContent(Part):
    """The net content of one unit."""

    value: Count
    unit: str = Field(pattern="^(ml|g|piece)$")


class SubmittedLine(Part):
    """What of a submitted line matters to tax."""

    line_no: LineNo
    hs_code: HsCode
    quantity: Count
    total: Decimals
    net_content: SubmittedContent | None = None
    net_weight_kg: Decimals | None = None


class Seller(Part):
    """Where the goods are sent from."""

    country: CountryCode | None = None


class Submission(Part):
    """What of a submission matters to tax; who buys and who pays does not."""

    order_no: str | None = None
    merchant: Seller | None = None
    placed_at: Time | None = None
    direction: Direction
    mode: str
    currency: str
    lines: tuple[SubmittedLine, ...] = Field(min_length=1, max_length=LINES_MAX)
    goods_value: Decimals | None = None
    freight: Decimals = Decimal(0)
    insurance: Decimals = Decimal(0)
    discount: Decimals = Decimal(0)
    export: dict[str, Any] | None = None


def assess_file(
    file: Annotated[
        Path,
        typer.Argument(
            help="A submission (order.submitted.v1) as JSON, or many as JSON lines; - reads stdin."
        ),
    ],
    at: Annotated[
        str | None,
        typer.Option(
            help="When the declaration is completed: a day, YYYY-MM-DD, or a time with offset; the "
            "order's own if not given."
        ),
    ] = None,
    used: Annotated[
        str, typer.Option(help="The buyer's purchases of the year so far, in CNY.")
    ] = "0.00",
    used_kg: Annotated[
        list[str] | None,
        typer.Option(
            help="Kilograms the buyer had this year of goods with a yearly weight: HS=KG, as "
            "1701=1.5."
        ),
    ] = None,
    rules: Annotated[
        Path | None,
        typer.Option(help="A folder of rule files instead of those that came with this release."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="The assessment as JSON.")] = False,
) -> None:
    """Assess a submission: regime, duty, consumption tax and VAT by line and in total, or the refusal (exit 1).

    Of JSON lines (a name that ends in .jsonl, or several documents one a line) each gets one line of JSON: the assessment, the refusal,
    or its faults. Exit status then: 2 if a line was wrong, else 1 if one was refused.
    """
    given = Given(load(rules or RULES), at, used_of(used), _used_kg(used_kg or []), rules or RULES)
    raw = bytes_of(file)
    if is_many(file, raw):
        exit_with(answer_many(raw, given.answer, lambda document: document["refused"] is not None))
    submission = given.parse(str(file), decoded(str(file), raw))
    order = assessable(submission)
    result = given.assess(submission, order)
    if json:
        as_json(as_contract(result, order))
    else:
        _show(result, order, given.sources(submission))
    if isinstance(result, Refusal):
        exit_with(Exit.NO)


@dataclass(frozen=True)
class Given:
    """What an assessment needs besides the order."""

    rules: Rulebook
    at: str | None
    used: Money
    used_kg: Mapping[str, Decimal]
    folder: Path = RULES

    def parse(self, name: str, text: str) -> Submission:
        """A submission from its JSON; raises Unread with every fault: field, rule, found, expected."""
        return read(
            name,
            text,
            Submission,
            self.rules.rule_set.nomenclature,
            timed(self.at),
            export.wrong_facts,
        )

    def assess(self, submission: Submission, order: Assessable) -> Assessment | Refusal:
        """An export is named by the route its taxes take, where the submission says what decides that."""
        on = day_of(submission.placed_at, self.at)
        result = assess(order, on, self.used, self.rules, self.used_kg)
        if submission.export is None or order.direction != "export" or isinstance(result, Refusal):
            return result
        return export.named(
            result,
            order.mode,
            [line.hs_code for line in order.lines],
            submission.export,
            on,
            self.folder,
        )

    def answer(self, name: str, text: str) -> dict[str, Any]:
        """The answer to one document of many, as scripts know it."""
        submission = self.parse(name, text)
        order = assessable(submission)
        return {
            "order_no": submission.order_no,
            **as_contract(self.assess(submission, order), order),
        }

    def sources(self, submission: Submission) -> Mapping[str, str]:
        """Where each rule that an assessment may name comes from."""
        return (
            self.rules.sources
            if submission.export is None
            else {**self.rules.sources, **export.sources(self.folder)}
        )


def assessable(submission: Submission) -> Assessable:
    """The tax side of a submission."""
    currency = submission.currency
    lines = tuple(
        AssessableLine(
            line.line_no,
            line.hs_code.replace(".", ""),
            line.quantity,
            Money.of(line.total, currency),
            None
            if line.net_content is None
            else NetContent.model_validate(line.net_content.model_dump()),
            line.net_weight_kg,
        )
        for line in submission.lines
    )
    carriage, insured, off = (
        Money.of(amount, currency)
        for amount in (submission.freight, submission.insurance, submission.discount)
    )
    return Assessable(
        submission.direction,
        submission.mode,
        currency,
        lines,
        Money.total((line.total for line in lines), currency),
        carriage,
        insured,
        off,
        None if submission.merchant is None else submission.merchant.country,
    )


def used_of(used: str) -> Money:
    """A buyer's use of the year as an option gives it; raises Wrong."""
    amount = option_decimal(used)
    if amount is None:
        raise UsageError(f"--used: {used!r} is not an amount in CNY like 1000.00")
    try:
        return Money.of(amount, "CNY")
    except MoneyError as error:
        raise UsageError(f"--used: {error}") from None


def _used_kg(given: Sequence[str]) -> dict[str, Decimal]:
    by_prefix: dict[str, Decimal] = {}
    for text in given:
        hs, _, weight = text.partition("=")
        kilograms = option_decimal(weight)
        if re.fullmatch("[0-9]{4,10}", hs) is None or kilograms is None:
            raise UsageError(f"--used-kg: {text!r} is not an HS prefix and kilograms like 1701=1.5")
        if hs in by_prefix:
            raise UsageError(f"--used-kg: {hs} is there twice")
        by_prefix[hs] = kilograms
    return by_prefix


def as_contract(result: Assessment | Refusal, order: Assessable) -> dict[str, Any]:
    """The answer as scripts know it: amounts as decimal strings, `refused` null or why; a refused order owes nothing here.

    `otherwise` is what goods over a limit would owe as general trade; `currency` is that of the amounts, for an import CNY.
    """
    if isinstance(result, Refusal):
        return _refused(result, order)
    amounts = {name: str(getattr(result, name)) for name in AMOUNTS}
    lines = [_line(line, result.total.currency) for line in result.lines]
    head = {
        "regime": result.regime,
        "dutiable_value": str(result.dutiable_value),
        "currency": result.total.currency,
    }
    tail = {
        "lines": lines,
        "rules": list(result.rules),
        "version": result.version,
        "edition": result.edition,
        "otherwise": None,
    }
    return {**head, **amounts, "refused": None, **tail}


def _refused(result: Refusal, order: Assessable) -> dict[str, Any]:
    value = result.dutiable_value or Money.zero(order.currency)
    none = str(Money.zero(value.currency))
    other = result.fallback
    return {
        "regime": result.regime, "dutiable_value": str(value), "currency": value.currency, **dict.fromkeys(AMOUNTS, none),
        "refused": {"code": result.code, "reason": result.reason, "limit": result.limit, "value": result.value}, "lines": [],
        "rules": list(result.rules),
        "otherwise": None if other is None else {"regime": other.regime, **{name: str(getattr(other, name)) for name in AMOUNTS}},
    }  # fmt: skip


def _line(line: AssessedLine, currency: str) -> dict[str, Any]:
    return {
        "line_no": line.line_no,
        **{name: str(Money(getattr(line, name), currency)) for name in OF_A_LINE},
    }


def _show(result: Assessment | Refusal, order: Assessable, sources: Mapping[str, str]) -> None:
    from rich.table import Table

    if isinstance(result, Refusal):
        print(
            f"refused {result.code}: {result.reason} (limit {result.limit}, found {result.value})"
        )
        if result.fallback is not None:
            print(
                f"as general trade it would owe {result.fallback.payable} CNY "
                f"({result.fallback.regime})"
            )
        return
    currency = result.total.currency
    table = Table(
        "line",
        "HS code",
        "dutiable value",
        "duty",
        "consumption tax",
        "VAT",
        "parcel tax",
        title=f"{result.regime}, {currency}",
    )
    for column in table.columns[2:]:
        column.justify = "right"
    for line, assessed in zip(order.lines, result.lines, strict=True):
        table.add_row(
            str(line.line_no),
            line.hs_code,
            *[str(Money(getattr(assessed, name), currency)) for name in OF_A_LINE],
        )
    table.add_section()
    totals = (
        result.dutiable_value,
        result.duty,
        result.consumption_tax,
        result.vat,
        result.parcel_tax,
    )
    table.add_row("total", "", *[str(amount) for amount in totals], style="bold")
    stdout().print(table)
    print(f"total tax {result.total} {currency}, payable {result.payable}")
    if order.direction == "export":
        print_err("what it costs where it arrives: crossborder tax landed FILE")
    print_err("by these rules:")
    for name in result.rules:
        print_err(f"  {name}: {sources[name]}")
