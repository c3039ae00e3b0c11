"""`crossborder tax …`: what an order owes, worked out from a file, without a running stack."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from json import dumps, loads
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from services.cli import export, landed, rebate, taxpast, taxrates
from services.cli.connect import Exit, Wrong, as_json, leave, paper, say
from services.cli.faults import Wrongly, faults_of
from services.cli.taxcases import cases
from services.tax.domain.assessment import Assessable, AssessableLine, AssessedLine, Assessment, Refusal, assess, beijing_date
from services.tax.rulefiles import RULES, load
from shared.events.orders import Direction, NetContent
from shared.money import EXPONENTS, Money, MoneyError

if TYPE_CHECKING:
    from services.tax.domain.rulebook import Rulebook

AMOUNTS: Final = ("duty", "consumption_tax", "vat", "parcel_tax", "total", "payable")
OF_A_LINE: Final = ("dutiable_value", "duty", "consumption_tax", "vat", "parcel_tax")

tax = typer.Typer(no_args_is_help=True, help="What an order owes, worked out from a file.")


tax.add_typer(cases, name="cases")


tax.add_typer(taxpast.rules, name="rules")


tax.add_typer(rebate.rebate, name="rebate")


tax.add_typer(taxrates.rates, name="rates")


tax.command("landed")(landed.landed_file)
tax.command("export")(export.export_file)


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


class Seller(_Part):
    """Where the goods are sent from."""

    country: str | None = Field(None, pattern="^[A-Z]{2}$")


class Submission(_Part):
    """What of a submission matters to tax; who buys and who pays does not."""

    order_no: str | None = None
    merchant: Seller | None = None
    placed_at: datetime | None = None
    direction: Direction
    mode: str
    currency: str
    lines: tuple[SubmittedLine, ...] = Field(min_length=1)
    goods_value: Decimals | None = None
    freight: Decimals = Decimal(0)
    insurance: Decimals = Decimal(0)
    discount: Decimals = Decimal(0)
    export: dict[str, Any] | None = None


@tax.command("assess")
def assess_file(
    file: Annotated[
        Path, typer.Argument(help="A submission (order.submitted.v1) as JSON, or many as JSON lines; - reads stdin.")
    ],
    at: Annotated[
        str | None,
        typer.Option(
            help="When the declaration is completed: a day, YYYY-MM-DD, or a time with offset; the order's own if not given."
        ),
    ] = None,
    used: Annotated[str, typer.Option(help="The buyer's purchases of the year so far, in CNY.")] = "0.00",
    used_kg: Annotated[
        list[str] | None,
        typer.Option(help="Kilograms the buyer had this year of goods with a yearly weight: HS=KG, as 1701=1.5."),
    ] = None,
    rules: Annotated[
        Path | None, typer.Option(help="A folder of rule files instead of those that came with this release.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="The assessment as JSON.")] = False,
) -> None:
    """Assess a submission: regime, duty, consumption tax and VAT by line and in total, or the refusal (exit 1).

    Of JSON lines (a name that ends in .jsonl, or several documents one a line) each gets one line of JSON: the assessment, the refusal,
    or its faults. Exit status then: 2 if a line was wrong, else 1 if one was refused.
    """
    given = Given(load(rules or RULES), at, used_of(used), _used_kg(used_kg or []), rules or RULES)
    text = text_of(file)
    if _is_many(file, text):
        leave(_assess_many(text, given))
    submission = parse(str(file), text)
    order = assessable(str(file), submission)
    result = given.assess(submission, order)
    if json:
        as_json(as_contract(result, order))
    else:
        _show(result, order, given.sources(submission))
    if isinstance(result, Refusal):
        leave(Exit.NO)


@dataclass(frozen=True)
class Given:
    """What an assessment needs besides the order."""

    rules: Rulebook
    at: str | None
    used: Money
    used_kg: Mapping[str, Decimal]
    folder: Path = RULES

    def assess(self, submission: Submission, order: Assessable) -> Assessment | Refusal:
        """An export is named by the route its taxes take, where the submission says what decides that."""
        on = _day(submission, self.at)
        result = assess(order, on, self.used, self.rules, self.used_kg)
        if submission.export is None or order.direction != "export" or isinstance(result, Refusal):
            return result
        return export.named(result, order.mode, [line.hs_code for line in order.lines], submission.export, on, self.folder)

    def sources(self, submission: Submission) -> Mapping[str, str]:
        """Where each rule that an assessment may name comes from."""
        return self.rules.sources if submission.export is None else {**self.rules.sources, **export.sources(self.folder)}


def text_of(file: Path) -> str:
    """A file's text, - is stdin; raises Wrong."""
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except OSError as error:
        raise Wrong(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Wrong(f"{file} is not UTF-8 text") from None


def _is_many(file: Path, text: str) -> bool:
    """Whether it is JSON lines: by its name, or because its first line is a whole document and there is another."""
    if file.suffix in {".jsonl", ".ndjson"}:
        return True
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) < 2:
        return False
    try:
        return isinstance(loads(lines[0]), dict)
    except ValueError:
        return False


def _assess_many(text: str, given: Given) -> Exit:
    """One line of JSON for each line that is not empty."""
    wrong = refused = False
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            submission = parse(f"line {number}", line)
            order = assessable(f"line {number}", submission)
            result = given.assess(submission, order)
        except Wrong as error:
            wrong = True
            found: dict[str, Any] = {"line": number, "error": str(error)}
            if isinstance(error, Unread):
                found["faults"] = [fault._asdict() for fault in error.faults]
        else:
            refused = refused or isinstance(result, Refusal)
            found = {"line": number, "order_no": submission.order_no, **as_contract(result, order)}
        print(dumps(found, ensure_ascii=False))
    return Exit.WRONG if wrong else Exit.NO if refused else Exit.DONE


class Unread(Wrong):
    """A document is not as it must be; `faults` says each field of it."""

    def __init__(self, name: str, faults: Sequence[Wrongly]) -> None:
        super().__init__("\n".join(f"{name}: {fault}" for fault in faults))
        self.faults: Final = tuple(faults)


def parse(name: str, text: str) -> Submission:
    """A submission from its JSON; raises Unread with every fault: field, rule, found, expected."""
    try:
        return Submission.model_validate_json(text)
    except ValidationError as error:
        raise Unread(name, faults_of(error)) from None


def assessable(name: str, submission: Submission) -> Assessable:
    """The tax side of a submission; raises Unread where an amount is none of the currency, or the lines do not add up."""
    faults = list(_unlike(submission))
    if faults:
        raise Unread(name, faults)
    currency = submission.currency
    lines = tuple(
        AssessableLine(
            line.line_no,
            line.hs_code.replace(".", ""),
            line.quantity,
            Money.of(line.total, currency),
            None if line.net_content is None else NetContent.model_validate(line.net_content.model_dump()),
            line.net_weight_kg,
        )
        for line in submission.lines
    )
    carriage, insured, off = (
        Money.of(amount, currency) for amount in (submission.freight, submission.insurance, submission.discount)
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


def _unlike(submission: Submission) -> Iterator[Wrongly]:
    """What of sound shape is no amount of the currency, does not add up, or is there twice."""
    currency = submission.currency
    if currency not in EXPONENTS:
        yield Wrongly("currency", "is_currency", repr(currency), "a currency of ISO 4217 supported here, like CNY")
        return
    amounts = {f"lines[{i}].total": line.total for i, line in enumerate(submission.lines)}
    head = {name: getattr(submission, name) for name in ("goods_value", "freight", "insurance", "discount")}
    unlike = [name for name, amount in (amounts | head).items() if amount is not None and not _is_money(amount, currency)]
    for name in unlike:
        decimals = f"an amount of at most {EXPONENTS[currency]} decimals, as {currency} has, and within the limit"
        yield Wrongly(name, "is_amount", str((amounts | head)[name]), decimals)
    total = sum(amounts.values())
    if not unlike and submission.goods_value not in (None, total):
        yield Wrongly("goods_value", "sum_of_lines", str(submission.goods_value), f"{total}, the sum of the lines' totals")
    numbers = [line.line_no for line in submission.lines]
    for i, number in enumerate(numbers):
        if number in numbers[:i]:
            yield Wrongly(f"lines[{i}].line_no", "unique", str(number), "a number that no other line has")


def _is_money(amount: Decimal, currency: str) -> bool:
    try:
        Money.of(amount, currency)
    except MoneyError:
        return False
    return True


def _day(submission: Submission, at: str | None) -> date:
    if at is None:
        if submission.placed_at is None or submission.placed_at.tzinfo is None:
            found = "nothing" if submission.placed_at is None else f"'{submission.placed_at.isoformat()}'"
            expected = "a time with its offset, like 2026-11-23T09:00:00+08:00, or the day by --at"
            raise Wrong(str(Wrongly("placed_at", "is_time", found, expected)))
        return beijing_date(submission.placed_at)
    try:
        return date.fromisoformat(at)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        raise Wrong(f"--at: {at!r} is not a day like 2026-11-23, nor a time with its offset") from None
    if moment.tzinfo is None:
        raise Wrong(f"--at: {at!r} is a time without its offset, like +08:00")
    return beijing_date(moment)


def used_of(used: str) -> Money:
    """A buyer's use of the year as an option gives it; raises Wrong."""
    try:
        found = Money.of(used, "CNY")
    except MoneyError as error:
        raise Wrong(f"--used: {error}") from None
    if found.minor < 0:
        raise Wrong(f"--used: {used} is below zero")
    return found


def _used_kg(given: Sequence[str]) -> dict[str, Decimal]:
    found: dict[str, Decimal] = {}
    for text in given:
        hs, _, weight = text.partition("=")
        try:
            kilograms = Decimal(weight)
        except InvalidOperation:
            kilograms = Decimal(-1)
        if not hs.isdecimal() or not kilograms.is_finite() or kilograms < 0:
            raise Wrong(f"--used-kg: {text!r} is not an HS prefix and kilograms like 1701=1.5")
        found[hs] = kilograms
    return found


def as_contract(result: Assessment | Refusal, order: Assessable) -> dict[str, Any]:
    """The answer as scripts know it: amounts as decimal strings, `refused` null or why; a refused order owes nothing here.

    `otherwise` is what goods over a limit would owe as general trade; `currency` is that of the amounts, for an import CNY.
    """
    if isinstance(result, Refusal):
        return _refused(result, order)
    amounts = {name: str(getattr(result, name)) for name in AMOUNTS}
    lines = [_line(line, result.total.currency) for line in result.lines]
    head = {"regime": result.regime, "dutiable_value": str(result.dutiable_value), "currency": result.total.currency}
    tail = {"lines": lines, "rules": list(result.rules), "version": result.version, "edition": result.edition, "otherwise": None}
    return {**head, **amounts, "refused": None, **tail}


def _refused(result: Refusal, order: Assessable) -> dict[str, Any]:
    value = result.dutiable_value or Money.zero(order.currency)
    none = str(Money.zero(value.currency))
    other = result.otherwise
    return {
        "regime": result.regime, "dutiable_value": str(value), "currency": value.currency, **dict.fromkeys(AMOUNTS, none),
        "refused": {"code": result.code, "reason": result.reason, "limit": result.limit, "value": result.value}, "lines": [],
        "rules": list(result.rules),
        "otherwise": None if other is None else {"regime": other.regime, **{name: str(getattr(other, name)) for name in AMOUNTS}},
    }  # fmt: skip


def _line(line: AssessedLine, currency: str) -> dict[str, Any]:
    return {"line_no": line.line_no, **{name: str(Money(getattr(line, name), currency)) for name in OF_A_LINE}}


def _show(result: Assessment | Refusal, order: Assessable, sources: Mapping[str, str]) -> None:
    from rich.table import Table

    if isinstance(result, Refusal):
        print(f"refused {result.code}: {result.reason} (limit {result.limit}, found {result.value})")
        if result.otherwise is not None:
            print(f"as general trade it would owe {result.otherwise.payable} CNY ({result.otherwise.regime})")
        return
    currency = result.total.currency
    table = Table(
        "line", "HS code", "dutiable value", "duty", "consumption tax", "VAT", "parcel tax", title=f"{result.regime}, {currency}"
    )
    for column in table.columns[2:]:
        column.justify = "right"
    for line, assessed in zip(order.lines, result.lines, strict=True):
        table.add_row(str(line.line_no), line.hs_code, *[str(Money(getattr(assessed, name), currency)) for name in OF_A_LINE])
    table.add_section()
    totals = (result.dutiable_value, result.duty, result.consumption_tax, result.vat, result.parcel_tax)
    table.add_row("total", "", *[str(amount) for amount in totals], style="bold")
    paper().print(table)
    print(f"total tax {result.total} {currency}, payable {result.payable}")
    if order.direction == "export":
        say("what it costs where it arrives: crossborder tax landed FILE")
    say("by these rules:")
    for name in result.rules:
        say(f"  {name}: {sources[name]}")
