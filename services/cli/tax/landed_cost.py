"""`crossborder tax landed`: the cost of an export at its destination, from a file."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from services.cli.connect import Exit, UsageError, as_json, exit_with, print_err, stdout
from services.cli.tax.export_files import ExportOrder, Reading, money, named_decimals
from services.cli.tax.json_lines import answer_many, bytes_of, is_many, text_of
from services.cli.tax.order_days import day_of
from services.tax.landed.calculation import ShippedLine
from services.tax.landed.domain import Consignment, Landed, UnknownCost, landed_cost
from shared.money import EXPONENTS, Money

if TYPE_CHECKING:
    from services.tax.landed.calculation import ChargeOwed
    from services.tax.landed.charge_rules import ChargeKind

KINDS: Final[tuple[ChargeKind, ...]] = ("duty", "surcharge", "vat", "fee")


OrderFile = Annotated[
    Path,
    typer.Argument(
        help="An export order (order.submitted.v1) as JSON, or JSON lines; - reads stdin."
    ),
]
ArrivalDay = Annotated[
    str | None,
    typer.Option(help="The day it arrives, YYYY-MM-DD; the Beijing day of placed_at if not given."),
]
Channel = Annotated[
    str | None,
    typer.Option(
        help="How it comes in, as the destination's rules name it: ioss, postal-ad-valorem …"
    ),
]
GivenRates = Annotated[
    list[str] | None,
    typer.Option(
        help="An exchange rate the rules lack: USD=0.92, one USD in the corridor's currency."
    ),
]
RulesFolder = Annotated[
    Path | None,
    typer.Option(
        help="A folder of dest-*.toml, and of exchange rates if it has some, instead of this "
        "release's."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="The landed cost as JSON.")]


def landed_file(
    file: OrderFile,
    at: ArrivalDay = None,
    channel: Channel = None,
    rate: GivenRates = None,
    rules: RulesFolder = None,
    json: AsJson = False,
) -> None:
    """Show the landed cost of an export: regime, every charge, who collects it, by which rule.

    Exit status 1: the cost is not known. With JSON lines each line gets one line of JSON; the exit
    status is then 2 if a line was wrong, else 1 if one is not known.
    """
    from services.tax.landed.files import load_destinations, load_rates
    from services.tax.rulebook.files import RULES

    given, folder = _given_rates(rate or []), rules or RULES
    reading, destinations = Reading.of(folder, at), load_destinations(folder)
    rates = load_rates(folder)

    def answer(name: str, text: str) -> Landed | UnknownCost:
        order = reading.order(name, text)
        on = day_of(order.placed_at, at)
        return landed_cost(consignment(order, channel), on, destinations, rates, given)

    def answer_line(name: str, text: str) -> dict[str, Any]:
        return as_document(answer(name, text))

    raw = bytes_of(file)
    if is_many(file, raw):
        exit_with(answer_many(raw, answer_line, lambda reply: reply["refused"] is not None))
    result = answer(str(file), text_of(str(file), raw))
    if json:
        as_json(as_document(result))
    else:
        show(result)
    if isinstance(result, UnknownCost):
        exit_with(Exit.NO)


def _given_rates(options: Sequence[str]) -> dict[str, Decimal]:
    given = named_decimals("--rate", options)
    for currency in given:
        if currency not in EXPONENTS:
            reason = f"{currency!r} is not a currency of ISO 4217 that is supported here"
            raise UsageError(f"--rate: {reason}")
    return given


def consignment(order: ExportOrder, channel: str | None) -> Consignment:
    """Return the parcel of an export order; raises UsageError naming an amount of another
    currency."""
    lines = tuple(
        ShippedLine(
            line.line_no,
            line.hs,
            line.origin,
            line.quantity,
            money(f"lines[{i}].total", line.total, order.currency),
            line.net_weight_kg,
            line.duty_rate,
            line.vat_rate,
        )
        for i, line in enumerate(order.lines)
    )
    extra = order.landed
    earlier = (
        None
        if extra.earlier_value is None
        else money("landed.earlier_value", extra.earlier_value, order.currency)
    )
    return Consignment(
        order.consignee.country,
        order.currency,
        lines,
        money("freight", order.freight, order.currency),
        money("insurance", order.insurance, order.currency),
        channel or extra.channel,
        extra.ioss,
        earlier,
        extra.earlier_weight_kg,
        order.discount > 0,
        order.merchant.country or "CN",
        order.mode,
    )


def as_document(result: Landed | UnknownCost) -> dict[str, Any]:
    """Return the JSON for scripts; `refused` is null, or the reason and what to add."""
    rules = [rule._asdict() for rule in result.rules]
    if isinstance(result, UnknownCost):
        refused = {"code": result.code, "reason": result.reason, "ask": result.ask}
        return {
            "corridor": result.corridor,
            "regime": result.regime,
            "refused": refused,
            "rules": rules,
        }
    return {
        "corridor": result.corridor,
        "destination": result.destination,
        "regime": result.regime,
        "channel": result.channel,
        "currency": result.total.currency,
        "goods_value": str(result.value),
        "freight": str(result.freight),
        "insurance": str(result.insurance),
        **{kind: str(result.sum_of(kind)) for kind in KINDS},
        "landed": str(result.total),
        "local": None if result.local is None else _wire(result.local),
        "charges": [_charge(owed) for owed in result.charges],
        "declaration": list(result.declaration),
        "refused": None,
        "rules": rules,
        "notices": list(result.notices),
    }


def _wire(amount: Money) -> dict[str, str]:
    return {"amount": str(amount), "currency": amount.currency}


def _charge(owed: ChargeOwed) -> dict[str, Any]:
    return {**owed._asdict(), "amount": str(owed.amount), "lines": list(owed.lines)}


def show(result: Landed | UnknownCost) -> None:
    from rich.table import Table

    if isinstance(result, UnknownCost):
        print(f"refused {result.code}: {result.reason}")
        print_err(f"to have an answer: {result.ask}")
        return
    currency = result.total.currency
    table = Table(
        "",
        currency,
        "collected by",
        "how",
        title=f"{result.corridor}: {result.regime}, {result.channel}",
    )
    table.columns[1].justify = "right"
    for name, amount in (
        ("goods", result.value),
        ("freight", result.freight),
        ("insurance", result.insurance),
    ):
        table.add_row(name, str(amount), "", "")
    for owed in result.charges:
        disputed = "" if owed.status == "settled" else " (disputed)"
        table.add_row(f"{owed.kind}{disputed}", str(owed.amount), owed.collector, owed.how)
    table.add_section()
    local = "" if result.local is None else f"{result.local} {result.local.currency}"
    table.add_row("landed", str(result.total), "", local, style="bold")
    stdout().print(table)
    if result.declaration:
        print(f"declaration {' '.join(result.declaration)}")
    for notice in result.notices:
        print_err(notice)
    print_err("by these rules:")
    for rule in result.rules:
        print_err(f"  {rule.id}: {rule.source} [{rule.status}]")
