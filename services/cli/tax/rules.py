"""`crossborder tax rules …`: show, compare and validate rules."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli.connect import Exit, UsageError, as_json, exit_with, print_err
from services.cli.tax.field_types import HS_CODE
from services.cli.tax.order_days import option_day
from services.cli.tax.rule_list import list_rules
from services.cli.tax.rule_options import AsJson, Folder
from services.tax.domain.comparison import Difference, differences
from services.tax.exports.domain import RebateRate
from services.tax.landed.destination import TariffRate
from services.tax.rule_check import (
    Others,
    ends_in,
    faults_of_others,
    part_ends_in,
    read_others,
)
from services.tax.rule_validity import (
    End,
    rows_of_other,
)
from services.tax.rulebook.book import Rulebook
from services.tax.rulebook.effective_regime import Basis, EffectiveRegime
from services.tax.rulebook.files import RULES, load, validate
from services.tax.rulebook.goods_lists import ListedGoods
from services.tax.rulebook.rows import Row
from services.tax.rulebook.sources import rows
from services.tax.rulebook.tariff import longest_prefix
from shared.clock import beijing_date

if TYPE_CHECKING:
    pass


rules = typer.Typer(
    no_args_is_help=True,
    help="The rules of tax: show, compare, validate, and ask what another set would change.",
)


rules.command("list")(list_rules)


@rules.command("show")
def show_rules(
    name: Annotated[
        str,
        typer.Argument(
            help="An HS code, the id of a rule file, or a rule as an assessment or a landed cost "
            "names it."
        ),
    ],
    at: Annotated[
        str | None, typer.Option(help="The day for an HS code, YYYY-MM-DD; today if not given.")
    ] = None,
    folder: Folder = RULES,
    json: AsJson = False,
) -> None:
    """Show rules with their sources: of a file, one by its name, or all that an HS code owes on
    a day."""
    book, others = load(folder), read_others(folder)
    if re.fullmatch(HS_CODE, name):
        on, name = day_of(at), name.replace(".", "")
        content = {"hs": name, "at": str(on), "regimes": list(_by_regime(book, name, on))}
        content["elsewhere"] = list(_elsewhere_of(others, name, on))
        _out(content, json)
        if not content["regimes"]:
            print_err(f"no rate is known for HS code {name} on {content['at']}")
            exit_with(Exit.NO)
        return
    chosen = [
        (rule, row)
        for rule, row in _all_rows(book, others)
        if rule == name or rule.startswith((f"{name}@", f"{name}/"))
    ]
    if not chosen:
        raise UsageError(
            f"name: {name!r} is no HS code, rule file or rule; `crossborder tax rules list` names "
            "the files"
        )
    _out({rule: _plain(row) for rule, row in chosen}, json)


def _all_rows(book: Rulebook, others: Others) -> Iterator[tuple[str, Row]]:
    yield from rows(book.rule_set)
    for document in others.documents.values():
        yield from rows_of_other(document)


def _elsewhere_of(others: Others, hs: str, day: date) -> Iterator[dict[str, Any]]:
    for document in others.documents.values():
        for rule, row in rows_of_other(document):
            if (
                isinstance(row, TariffRate | RebateRate | ListedGoods)
                and hs.startswith(row.hs)
                and row.is_on(day)
            ):
                rate = None if isinstance(row, ListedGoods) else str(row.rate)
                yield {"rule": rule, "rate": rate, "source": f"{row.source} ({row.confidence})"}


def day_of(at: str | None, option: str = "--at") -> date:
    """Return the day of an option, today in Beijing if not given; raises UsageError."""
    return beijing_date(datetime.now(UTC)) if at is None else option_day(option, at)


def _plain(row: Row) -> dict[str, Any]:
    fields = {name: getattr(row, name) for name in type(row).model_fields}
    nested = {
        name
        for name, value in fields.items()
        if isinstance(value, tuple) and any(isinstance(part, Row) for part in value)
    }
    return row.model_dump(mode="json", by_alias=True, exclude_none=True, exclude=nested)


def _by_regime(book: Rulebook, hs: str, day: date) -> Iterator[dict[str, Any]]:
    for regime in book.regimes:
        in_force = book.by_id(regime.id, day)
        if in_force is not None and (owed := _of_goods(in_force, hs)):
            named = owed.pop("rules")
            yield {
                "regime": regime.id,
                "modes": list(regime.modes),
                **owed,
                "rules": {rule: book.sources[rule] for rule in named},
            }


def _of_goods(in_force: EffectiveRegime, hs: str) -> dict[str, Any]:
    """Return the shares that goods owe by a regime, as percent to four places."""
    if (parcel := longest_prefix(in_force.parcels, hs)) is not None:
        other = None if parcel.other is None else _percent(parcel.other)
        return {
            "prefix": parcel.hs,
            "parcel_tax": _percent(parcel.rate),
            "dear_or_taxed": other,
            "rules": parcel.rules,
        }
    goods = in_force.find(hs)
    if goods is None:
        return {}
    threshold = None if goods.threshold is None else goods.threshold._asdict()
    named = [
        *dict.fromkeys(
            rule
            for basis in (goods.reduced, goods.full)
            if basis is not None
            for rule in basis.rules
        )
    ]
    listed = (
        None if goods.listed is None else {"listed": goods.listed.listed, "note": goods.listed.note}
    )
    return {
        "prefix": goods.hs,
        "within_limits": _shares(goods.reduced, goods.has_consumption_tax),
        "full_rate": _shares(goods.full, goods.has_consumption_tax),
        "threshold_fen": threshold,
        "positive_list": listed,
        "rules": [*named, *([goods.list_rule] if goods.list_rule else [])],
    }


def _shares(basis: Basis | None, taxed: bool) -> dict[str, str] | None:
    if basis is None:
        return None
    owed = basis.taxed if taxed else basis.plain
    return {name: _percent(share) for name, share in owed._asdict().items()}


def _percent(share: tuple[int, int]) -> str:
    return f"{100 * share[0] / share[1]:.4f} %"


def _out(content: Mapping[str, Any], json: bool) -> None:
    if json:
        as_json(content)
        return
    for line in _lines(content, 0):
        print(line)


def _lines(content: Any, depth: int) -> Iterator[str]:
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield f"{'  ' * depth}{key}"
            yield from _lines(value, depth + 1)
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            for part in value:
                yield ""
                yield from _lines(part, depth)
        elif value not in (None, "", []):
            text = ", ".join(map(str, value)) if isinstance(value, list) else value
            yield f"{'  ' * depth}{key}: {text}"


@rules.command("compare")
def compare_rules(
    old: Annotated[Path, typer.Argument(help="A folder of rule files.")],
    new: Annotated[
        Path | None, typer.Argument(help="Another one; the rules of this release if not given.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Compare two sets of rules row by row; exit 1 if they differ."""
    before, after = load(old), load(new or RULES)
    differing = differences(_named(before, old), _named(after, new or RULES))
    if json:
        listed = [difference._asdict() for difference in differing]
        as_json({"old": before.edition, "new": after.edition, "differences": listed})
    else:
        for difference in differing:
            _print_difference(difference)
        print_err(f"{len(differing)} rules differ" if differing else "the sets say the same")
    exit_with(Exit.NO if differing else Exit.DONE)


def _print_difference(difference: Difference) -> None:
    print(f"{difference.kind} {difference.rule}")
    for key, values in difference.fields.items():
        was, now = ("-" if value is None else value for value in values)
        print(f"  {key}: {was} -> {now}")


def _named(book: Rulebook, folder: Path) -> Iterator[tuple[str, Row]]:
    others = read_others(folder)
    if others.faults:
        raise others.faults[0]
    yield from _all_rows(book, others)


@rules.command("validate")
def validate_rules(
    folder: Annotated[Path, typer.Argument(help="A folder of rule files.")], json: AsJson = False
) -> None:
    """Validate a set of rules as the service does before it takes one, exports and destinations
    too.

    Exit status 1: each fault is listed with file, line and reason. Of a good set the last day of
    each table is listed.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder")
    book, faults = validate(folder)
    faults = (*faults, *faults_of_others(folder))
    edition = None if book is None else book.edition
    ends, today = ends_in(folder), beijing_date(datetime.now(UTC))
    if json:
        listed = [{"file": f.path.name, "line": f.line, "reason": f.reason} for f in faults]
        last = [{**_end(end, today), "carried_over": end.carried_over} for end in ends]
        parts = [_end(end, today) for end in part_ends_in(folder)]
        head = {"valid": not faults, "edition": edition, "faults": listed}
        as_json({**head, "last_days": last, "parts": parts})
    else:
        print("\n".join(map(str, faults)) if faults else f"valid, edition {edition}")
        for end in (*ends, *part_ends_in(folder)):
            print(sentence_of(end, today))
    exit_with(Exit.NO if faults else Exit.DONE)


def _end(end: End, today: date) -> dict[str, Any]:
    return {"table": end.table, "last_day": str(end.last), "days_left": end.left(today)}


def sentence_of(end: End, today: date) -> str:
    left = end.left(today)
    over = f"{left} days left" if left >= 0 else f"over since {-left} days"
    return f"{end.table}: last day {end.last}, {over}" + (
        ", carried over: `crossborder tax rates import`" if end.carried_over else ""
    )
