"""`crossborder tax export`: the route of China's taxes on an exported order, from a file."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli.connect import Exit, UsageError, as_json, exit_with, print_err, stdout
from services.cli.tax.export_files import ExportOrder, Reading, money, wrong_facts
from services.cli.tax.json_lines import answer_many, bytes_of, is_many, text_of
from services.cli.tax.order_days import day_of
from services.cli.tax.rule_options import RulesFolder
from services.tax.exports.decisions import (
    UNDETERMINED,
    CheckedCondition,
    ExportBook,
    RouteDecision,
    decide_route,
    deemed_income_of,
    output_vat_of,
    refund_of,
    regime_of,
    sources_of,
)
from services.tax.exports.domain import Facts
from shared.money import Money

__all__ = ["wrong_facts"]

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from services.tax.domain.assessment import Assessment
    from services.tax.rulebook.book import Rulebook


OrderFile = Annotated[
    Path,
    typer.Argument(
        help="An export order (order.submitted.v1) as JSON, with the facts of its exporter, or "
        "JSON lines; - reads stdin."
    ),
]
ExportDay = Annotated[
    str | None,
    typer.Option(
        help="The export date of the declaration, YYYY-MM-DD; the Beijing day of placed_at if "
        "not given."
    ),
]
MerchantsFile = Annotated[
    Path | None,
    typer.Option(
        help="Facts of each exporter, by date (TOML); the order's own `export` takes precedence."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Routes and conditions as JSON.")]


def export_file(
    file: OrderFile,
    at: ExportDay = None,
    merchants: MerchantsFile = None,
    rules: RulesFolder = None,
    json: AsJson = False,
) -> None:
    """Show refund, exemption or taxation of an exported order, line by line, with every condition.

    A condition has found, expected and source. Exit status 1: no route can be named, and the
    deciding facts are listed. With JSON lines each line gets one line of JSON; the exit status is
    then 2 if a line was wrong, else 1 if one has no route.
    """
    from services.tax.exports.files import load_merchants
    from services.tax.rulebook.files import RULES, load

    folder = rules or RULES
    exporters = load_merchants(merchants) if merchants else None
    reading, book, imports = Reading.of(folder, at), book_of(folder), load(folder)

    def answer(name: str, text: str) -> dict[str, Any]:
        order = reading.order(name, text)
        on = day_of(order.placed_at, at)
        standing = exporters.facts_of(order.merchant.code, on) if exporters else {}
        decisions = decisions_of(order, on, {**standing, **order.export}, book)
        return as_document(order, decisions, book, imports, on)

    raw = bytes_of(file)
    if is_many(file, raw):
        exit_with(answer_many(raw, answer, lambda document: document["regime"] == UNDETERMINED))
    document = answer(str(file), text_of(str(file), raw))
    if json:
        as_json(document)
    else:
        show(document)
    if document["regime"] == UNDETERMINED:
        exit_with(Exit.NO)


def decisions_of(
    order: ExportOrder, on: date, facts: Facts, book: ExportBook
) -> list[RouteDecision]:
    """Return the route of each line; raises UsageError for a day before the first rules."""
    decisions = [decide_route(book, on, order.mode, line.hs, facts) for line in order.lines]
    if any(decision is None for decision in decisions):
        first = min(route.valid_from for route in book.routes.route)
        raise UsageError(f"{on}: no rules of exports are held for days before {first}")
    return [decision for decision in decisions if decision is not None]


def as_document(
    order: ExportOrder, decisions: list[RouteDecision], book: ExportBook, rules: Rulebook, on: date
) -> dict[str, Any]:
    """Return the JSON for scripts; an amount is null where an invoice, a rate or a heading is
    missing."""
    lines = []
    for line, decision in zip(order.lines, decisions, strict=True):
        total = money(f"line {line.line_no}", line.total, order.currency)
        amounts = _amounts(decision, line.hs, total, line.purchase, book, rules, on)
        checked = [_condition(check) for check in decision.checked]
        document = {
            "line_no": line.line_no,
            "hs_code": line.hs,
            "regime": decision.regime,
            "missing": list(decision.missing),
        }
        lines.append({**document, **amounts, "conditions": checked})
    named = dict.fromkeys(rule for decision in decisions for rule in decision.rules)
    sources = sources_of(book)
    return {
        "regime": regime_of(decisions),
        "edition": book.edition,
        "on": on.isoformat(),
        "currency": "CNY",
        "lines": lines,
        "rules": [{"id": rule, "source": sources[rule]} for rule in named],
    }


def _condition(check: CheckedCondition) -> dict[str, Any]:
    fields = check._asdict()
    return {"found" if name == "actual" else name: value for name, value in fields.items()}


def _amounts(
    decision: RouteDecision,
    hs: str,
    total: Money,
    purchase: Decimal | None,
    book: ExportBook,
    rules: Rulebook,
    on: date,
) -> dict[str, str | None]:
    """Return what the route comes to: the refund, deemed income tax, or VAT as on a sale at
    home."""
    sales = _in_cny(total, rules, on)
    amounts = {
        "refund": _refund(decision, hs, purchase, book, on),
        "deemed_income_tax": None,
        "output_vat": None,
        "sales": sales,
    }
    if decision.deemed_income and sales is not None:
        deemed = deemed_income_of(book, sales, on)
        amounts["deemed_income_tax"] = None if deemed is None else deemed.tax
    if decision.vat == "taxed" and sales is not None:
        vat = vat_rate(rules, hs, on)
        amounts["output_vat"] = None if vat is None else output_vat_of(sales, vat)
    return {name: None if amount is None else str(amount) for name, amount in amounts.items()}


def _refund(
    decision: RouteDecision, hs: str, purchase: Decimal | None, book: ExportBook, on: date
) -> Money | None:
    rate = book.rebates.on(hs, on)
    if decision.vat != "refund" or purchase is None or rate is None:
        return None
    return refund_of(money("purchase", purchase, "CNY"), rate.rate)


def vat_rate(rules: Rulebook, hs: str, on: date) -> Decimal | None:
    """Return the VAT on a sale at home that day, None where the tariff does not have the
    heading."""
    from services.tax.rulebook.tariff import in_force_by_prefix, longest_prefix

    heading = longest_prefix(in_force_by_prefix(rules.tariff.heading, on), hs)
    if heading is None:
        return None
    return next(
        (row.rate for row in rules.tariff.vat if row.class_ == heading.vat and row.is_on(on)), None
    )


def _in_cny(amount: Money, rules: Rulebook, on: date) -> Money | None:
    from services.tax.rulebook.exchange import RateMissing

    if amount.currency == "CNY":
        return amount
    try:
        return rules.exchange.rate(amount.currency, on).convert(amount)
    except RateMissing:
        return None


@cache
def book_of(folder: Path) -> ExportBook:
    from services.tax.exports.files import load_exports

    return load_exports(folder)


def sources(folder: Path) -> Mapping[str, str]:
    return sources_of(book_of(folder))


def with_route_name(
    result: Assessment,
    mode: str,
    hs_codes: Sequence[str],
    facts: dict[str, Any],
    on: date,
    folder: Path,
) -> Assessment:
    """Return the assessment under the name of its route; unchanged where no route can be named."""
    routes = [decide_route(book_of(folder), on, mode, hs, facts) for hs in hs_codes]
    decisions = [decision for decision in routes if decision is not None]
    if not decisions or regime_of(decisions) == UNDETERMINED:
        return result
    rules = dict.fromkeys(rule for decision in decisions for rule in decision.rules)
    return replace(result, regime=regime_of(decisions), rules=(*result.rules, *rules))


def show(document: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table(
        "line",
        "HS code",
        "route",
        "refund",
        "deemed income tax",
        "output VAT",
        title=f"{document['regime']}, CNY",
    )
    for line in document["lines"]:
        amounts = [line[name] or "" for name in ("refund", "deemed_income_tax", "output_vat")]
        table.add_row(str(line["line_no"]), line["hs_code"], line["regime"], *amounts)
    stdout().print(table)
    for line in document["lines"]:
        for check in line["conditions"]:
            word = {True: "met", False: "NOT met", None: "NOT KNOWN"}[check["met"]]
            comparison = f"found {check['found']}, expected {check['expected']}"
            print(
                f"line {line['line_no']}, {check['route']}: {check['what']}: {comparison}: {word}"
            )
            print_err(f"  {check['source']}")
        if line["missing"]:
            print_err(
                f"line {line['line_no']}: say in `export` or --merchants: "
                f"{', '.join(line['missing'])}"
            )
    print_err("by these rules:")
    for rule in document["rules"]:
        print_err(f"  {rule['id']}: {rule['source']}")
