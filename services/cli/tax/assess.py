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

from services.cli.connect import Exit, UsageError, as_json, exit_with
from services.cli.tax import export
from services.cli.tax.assess_output import as_contract, show
from services.cli.tax.field_types import Count, CountryCode, Decimals, HsCode, LineNo, Time
from services.cli.tax.json_lines import answer_many, bytes_of, is_many, text_of
from services.cli.tax.order_days import day_of, option_decimal, timed
from services.cli.tax.order_files import Part, read
from services.cli.tax.rule_options import RulesFolder
from services.tax.domain.assessment import (
    Assessable,
    AssessableLine,
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
"""Lines of one order in a file; customs takes 99, a question may have more."""


class SubmittedContent(Part):
    """The net content of one unit."""

    value: Count
    unit: str = Field(pattern="^(ml|g|piece)$")


class SubmittedLine(Part):
    """The fields of a submitted line that matter to tax."""

    line_no: LineNo
    hs_code: HsCode
    quantity: Count
    total: Decimals
    net_content: SubmittedContent | None = None
    net_weight_kg: Decimals | None = None


class SellerOrigin(Part):
    """Where the goods are sent from."""

    country: CountryCode | None = None


class Submission(Part):
    """The fields of a submission that matter to tax; buyer and payment do not."""

    order_no: str | None = None
    merchant: SellerOrigin | None = None
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


OrderFile = Annotated[
    Path,
    typer.Argument(
        help="A submission (order.submitted.v1) as JSON, or many as JSON lines; - reads stdin."
    ),
]
DeclarationDay = Annotated[
    str | None,
    typer.Option(
        help="When the declaration is completed: a day, YYYY-MM-DD, or a time with offset; the "
        "order's own if not given."
    ),
]
UsedAmount = Annotated[str, typer.Option(help="The buyer's purchases of the year so far, in CNY.")]
UsedWeights = Annotated[
    list[str] | None,
    typer.Option(
        help="Kilograms the buyer had this year of goods with a yearly weight: HS=KG, as 1701=1.5."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="The assessment as JSON.")]


def assess_file(
    file: OrderFile,
    at: DeclarationDay = None,
    used: UsedAmount = "0.00",
    used_kg: UsedWeights = None,
    rules: RulesFolder = None,
    json: AsJson = False,
) -> None:
    """Assess a submission: regime, duty, consumption tax and VAT by line and in total, or the
    refusal.

    Exit status 1: the order is refused. With JSON lines (a name that ends in .jsonl, or one
    document a line) each line gets one line of JSON: the assessment, the refusal, or its faults.
    The exit status is then 2 if a line was wrong, else 1 if one was refused.
    """
    given = Given(load(rules or RULES), at, used_of(used), _used_kg(used_kg or []), rules or RULES)
    raw = bytes_of(file)
    if is_many(file, raw):
        exit_with(answer_many(raw, given.answer, lambda document: document["refused"] is not None))
    submission = given.parse(str(file), text_of(str(file), raw))
    order = assessable(submission)
    result = given.assess(submission, order)
    if json:
        as_json(as_contract(result, order))
    else:
        show(result, order, given.sources(submission))
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
        """Return a submission from its JSON; raises Unread with every fault: field, rule, found,
        expected."""
        return read(
            name,
            text,
            Submission,
            self.rules.rule_set.nomenclature,
            timed(self.at),
            export.wrong_facts,
        )

    def assess(self, submission: Submission, order: Assessable) -> Assessment | Refusal:
        """Assess the order; an export gets the name of its route, where the submission gives the
        facts."""
        on = day_of(submission.placed_at, self.at)
        result = assess(order, on, self.used, self.rules, self.used_kg)
        if submission.export is None or order.direction != "export" or isinstance(result, Refusal):
            return result
        return export.with_route_name(
            result,
            order.mode,
            [line.hs_code for line in order.lines],
            submission.export,
            on,
            self.folder,
        )

    def answer(self, name: str, text: str) -> dict[str, Any]:
        submission = self.parse(name, text)
        order = assessable(submission)
        return {
            "order_no": submission.order_no,
            **as_contract(self.assess(submission, order), order),
        }

    def sources(self, submission: Submission) -> Mapping[str, str]:
        return (
            self.rules.sources
            if submission.export is None
            else {**self.rules.sources, **export.sources(self.folder)}
        )


def assessable(submission: Submission) -> Assessable:
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
    """Return the --used amount in CNY; raises UsageError."""
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
