"""Rules of an order's lines."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from services.orders.intake.amount_rules import AMOUNT_MAX, ZERO, check_amount
from services.orders.intake.check import Check, require_declarable
from services.orders.intake.codes import UNITS, is_country
from services.orders.intake.identifiers import is_gtin
from services.orders.intake.redaction import echo, redacted
from services.orders.intake.submission import Goods

HS_DIGITS: Final = 10
"""gcode: the 8-digit line and 2 supplementary digits [S22 CEB604].

For imports and for the consolidated export lists (statisticsFlag B) declared here. Simplified lists
(A) may have fewer."""


LINES_MAX: Final = {"import": 99, "export": 100}  # CEB311 and CEB303 [X22]


WEIGHT_MAX_KG: Final = Decimal(1_000_000)


def check_lines(check: Check) -> None:
    lines, direction = check.order.lines, check.order.direction
    if len(lines) > LINES_MAX[direction]:
        check.refuse(
            "lines",
            "line_count",
            f"{len(lines)} lines",
            f"at most {LINES_MAX[direction]} for an {direction}",
            ("direction",),
        )
    numbers = [line.line_no for line in lines]
    if sorted(numbers) != list(range(1, len(lines) + 1)):
        shown = " ".join(echo(str(number)) for number in numbers[:20])
        check.refuse(
            "lines",
            "line_numbers",
            shown,
            f"1 to {len(lines)}, each once",
            ("lines[*]", "lines[*].line_no"),
        )
    for index, line in enumerate(lines):
        _goods(check, f"lines[{index}]", line)


def _goods(check: Check, at: str, line: Goods) -> None:
    direction = check.order.direction
    digits = len(line.hs_code)
    if digits != HS_DIGITS:
        check.refuse(f"{at}.hs_code", "is_hs_code", f"{digits} digits", f"{HS_DIGITS} digits")
    if not is_country(line.origin):
        check.refuse(f"{at}.origin", "is_country", line.origin, "ISO 3166-1 alpha-2")
    elif direction == "import":
        require_declarable(check, f"{at}.origin", line.origin)
    if line.unit not in UNITS:
        check.refuse(
            f"{at}.unit", "is_unit", redacted(f"{at}.unit", line.unit), "one of " + " ".join(UNITS)
        )
    if line.gtin is not None and not is_gtin(line.gtin):
        check.refuse(
            f"{at}.gtin",
            "is_gtin",
            f"{len(line.gtin)} characters, check digit or form wrong",
            "GTIN-8, 12, 13 or 14",
        )
    _quantities(check, at, line)
    _prices(check, at, line)


def _quantities(check: Check, at: str, line: Goods) -> None:
    for field, value, most in (
        ("quantity", line.quantity, AMOUNT_MAX),
        ("net_weight_kg", line.net_weight_kg, WEIGHT_MAX_KG),
    ):
        if not ZERO < value <= most:
            check.refuse(f"{at}.{field}", "positive", f"{value:f}", f"more than 0, at most {most}")
    content = line.net_content
    if content is not None and not ZERO < content.value <= AMOUNT_MAX:
        check.refuse(
            f"{at}.net_content.value",
            "positive",
            f"{content.value:f}",
            f"more than 0, at most {AMOUNT_MAX}",
        )


def _prices(check: Check, at: str, line: Goods) -> None:
    if line.unit_price < ZERO:  # a gift has the price 0 [S22 CEB311]
        check.refuse(f"{at}.unit_price", "not_negative", f"{line.unit_price:f}", "0 or more")
    elif line.unit_price > AMOUNT_MAX:
        check.refuse(
            f"{at}.unit_price", "amount_max", f"{line.unit_price:f}", f"at most {AMOUNT_MAX}"
        )
    check_amount(check, f"{at}.total", line.total)
    # Exact: customs compares price times quantity with the total, without tolerance
    # [S22, 3 rule 12].
    total = line.unit_price * line.quantity
    if line.total != total:
        reads = (f"{at}.unit_price", f"{at}.quantity")
        check.refuse(
            f"{at}.total",
            "price_times_quantity",
            f"{line.total:f}",
            f"{total.normalize():f}",
            reads,
        )
