"""`crossborder tax …`: what an order owes, worked out from a file, without a running stack."""

from __future__ import annotations

import sys
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from services.cli.connect import Exit, Wrong, as_json, leave, paper, say
from services.tax.domain.assessment import Assessable, AssessableLine, AssessedLine, Assessment, Refusal, assess, beijing_date
from services.tax.rulefiles import load
from shared.events.orders import Direction, NetContent
from shared.money import Money, MoneyError

if TYPE_CHECKING:
    from services.tax.domain.rulebook import Rulebook

tax = typer.Typer(no_args_is_help=True, help="What an order owes, worked out from a file.")


@tax.callback()
def _group() -> None:
    """Keeps `assess` a command of its own while it is the only one."""


def _decimal_string(value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError('write it as a decimal string, like "12.00"')
    return value


Decimals = Annotated[Decimal, BeforeValidator(_decimal_string), Field(ge=0, allow_inf_nan=False, max_digits=24)]
Count = Annotated[Decimals, Field(gt=0)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class SubmittedContent(_Part):
    """The net content of one unit."""

    value: Count
    unit: str = Field(pattern="^(ml|g|piece)$")


class SubmittedLine(_Part):
    """What of a submitted line matters to tax."""

    line_no: int = Field(ge=1)
    hs_code: str = Field(pattern=r"^\d[\d.]{3,12}$")
    quantity: Count
    total: Decimals
    net_content: SubmittedContent | None = None
    net_weight_kg: Decimals | None = None


class Submission(_Part):
    """What of a submission matters to tax; who buys and who pays does not."""

    placed_at: datetime | None = None
    direction: Direction
    mode: str
    currency: str
    lines: tuple[SubmittedLine, ...] = Field(min_length=1)
    goods_value: Decimals | None = None
    freight: Decimals = Decimal(0)
    insurance: Decimals = Decimal(0)
    discount: Decimals = Decimal(0)


@tax.command("assess")
def assess_file(
    file: Annotated[Path, typer.Argument(help="A submission (order.submitted.v1) as JSON; - reads it from stdin.")],
    at: Annotated[str | None, typer.Option(help="The day of the declaration, YYYY-MM-DD; the order's own if not given.")] = None,
    used: Annotated[str, typer.Option(help="The buyer's purchases of the year so far, in CNY.")] = "0.00",
    json: Annotated[bool, typer.Option("--json", help="The assessment as JSON.")] = False,
) -> None:
    """Assess a submission: regime, duty, consumption tax and VAT by line and in total, or the refusal (exit 1)."""
    submission = _read(file)
    order = assessable(submission)
    rules = load()
    result = assess(order, _day(submission, at), _used(used), rules)
    if json:
        as_json(as_contract(result, order))
    else:
        _show(result, order, rules)
    if isinstance(result, Refusal):
        leave(Exit.NO)


def _read(file: Path) -> Submission:
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except OSError as error:
        raise Wrong(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Wrong(f"{file} is not UTF-8 text") from None
    try:
        return Submission.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
        message = first["msg"].removeprefix("Value error, ")
        raise Wrong(f"{file}: {field or 'the file'}: {message}") from None


def assessable(submission: Submission) -> Assessable:
    """The tax side of a submission; raises Wrong naming the field that is no amount of the currency, or does not add up."""
    lines = tuple(
        AssessableLine(
            line.line_no,
            line.hs_code.replace(".", ""),
            line.quantity,
            _money(f"lines[{index}].total", line.total, submission.currency),
            None if line.net_content is None else NetContent.model_validate(line.net_content.model_dump()),
            line.net_weight_kg,
        )
        for index, line in enumerate(submission.lines)
    )
    total = Money.total((line.total for line in lines), submission.currency)
    if submission.goods_value is not None and _money("goods_value", submission.goods_value, submission.currency) != total:
        raise Wrong(f"goods_value: {submission.goods_value} is not the sum of the lines' totals, {total}")
    return Assessable(
        submission.direction,
        submission.mode,
        submission.currency,
        lines,
        total,
        _money("freight", submission.freight, submission.currency),
        _money("insurance", submission.insurance, submission.currency),
        _money("discount", submission.discount, submission.currency),
    )


def _money(field: str, amount: Decimal, currency: str) -> Money:
    try:
        return Money.of(amount, currency)
    except MoneyError as error:
        raise Wrong(str(error) if str(error).startswith("currency") else f"{field}: {error}") from None


def _day(submission: Submission, at: str | None) -> date:
    if at is None:
        if submission.placed_at is None or submission.placed_at.tzinfo is None:
            raise Wrong("placed_at: give a time with its offset, or the day by --at")
        return beijing_date(submission.placed_at)
    try:
        return date.fromisoformat(at)
    except ValueError:
        raise Wrong(f"--at: {at!r} is not a day like 2026-11-23") from None


def _used(used: str) -> Money:
    try:
        found = Money.of(used, "CNY")
    except MoneyError as error:
        raise Wrong(f"--used: {error}") from None
    if found.minor < 0:
        raise Wrong(f"--used: {used} is below zero")
    return found


def as_contract(result: Assessment | Refusal, order: Assessable) -> dict[str, Any]:
    """The answer as scripts know it: amounts as decimal strings, `refused` null or why; a refused order owes nothing here."""
    none = Money.zero(order.currency)
    if isinstance(result, Refusal):
        amounts = dict.fromkeys(("duty", "consumption_tax", "vat", "parcel_tax", "total", "payable"), str(none))
        value = str(result.dutiable_value or none)
        refused = {"code": result.code, "reason": result.reason, "limit": result.limit, "value": result.value}
        lines: list[dict[str, Any]] = []
    else:
        named = ("duty", "consumption_tax", "vat", "parcel_tax", "total", "payable")
        amounts, value = {name: str(getattr(result, name)) for name in named}, str(result.dutiable_value)
        refused, lines = None, [_line(line, order.currency) for line in result.lines]
    head = {"regime": result.regime, "dutiable_value": value, "currency": order.currency}
    return {**head, **amounts, "refused": refused, "lines": lines, "rules": list(result.rules)}


def _line(line: AssessedLine, currency: str) -> dict[str, Any]:
    amounts = {name: str(Money(getattr(line, name), currency)) for name in ("dutiable_value", "duty", "consumption_tax", "vat")}
    return {"line_no": line.line_no, **amounts}


def _show(result: Assessment | Refusal, order: Assessable, rules: Rulebook) -> None:
    from rich.table import Table

    if isinstance(result, Refusal):
        print(f"refused {result.code}: {result.reason} (limit {result.limit}, found {result.value})")
        return
    table = Table(
        "line", "HS code", "dutiable value", "duty", "consumption tax", "VAT", title=f"{result.regime}, {order.currency}"
    )
    for column in table.columns[2:]:
        column.justify = "right"
    for line, assessed in zip(order.lines, result.lines, strict=True):
        table.add_row(str(line.line_no), line.hs_code, *[str(Money(minor, order.currency)) for minor in assessed[1:]])
    table.add_section()
    totals = (result.dutiable_value, result.duty, result.consumption_tax, result.vat)
    table.add_row("total", "", *[str(amount) for amount in totals], style="bold")
    paper().print(table)
    print(f"total tax {result.total} {order.currency}, payable {result.payable}")
    say("by these rules:")
    for name in result.rules:
        say(f"  {name}: {rules.sources[name]}")
