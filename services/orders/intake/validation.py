"""Every rule of a submission beyond its shape; a rejection lists all that are broken."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from services.orders.intake.amount_rules import check_amounts, check_sums
from services.orders.intake.check import Check
from services.orders.intake.codes import DECLARABLE_CURRENCIES
from services.orders.intake.goods_rules import check_lines
from services.orders.intake.identifiers import is_like_postal_item, is_postal_item
from services.orders.intake.party_rules import (
    check_consignee,
    check_countries,
    check_enterprises,
    check_persons,
)
from services.orders.intake.schema_faults import limited
from services.orders.intake.submission import Submitted
from shared.events.base import Fault
from shared.money import EXPONENTS
from shared.texts import hidden_in, other_spelling_in

MODES: Final[dict[str, frozenset[str]]] = {
    "import": frozenset({"9610", "1210"}),
    "export": frozenset({"9610", "9710", "9810", "1210"}),
}


LOGISTICS_NO_MAX: Final = {"import": 60, "export": 32}  # CEB511 and CEB505 [S22]


PLACED_EARLIEST: Final = datetime(2013, 1, 1, tzinfo=UTC)


AHEAD_MAX: Final = timedelta(hours=24)


def validate(submitted: Submitted, now: datetime) -> tuple[Fault, ...]:
    """Return every fault of a submission received `now`, those of its shape included; none:
    valid."""
    check = Check(submitted, now)
    for rule in _RULES:
        rule(check)
    return limited(check.faults)


def _placed_at(check: Check) -> None:
    at = check.order.placed_at
    if at < PLACED_EARLIEST:
        check.refuse("placed_at", "not_before", at.isoformat(), "2013-01-01 or later")
    elif at > check.now + AHEAD_MAX:
        check.refuse("placed_at", "not_in_future", at.isoformat(), "at most 24 hours ahead")


def _mode(check: Check) -> None:
    order = check.order
    if order.mode not in MODES[order.direction]:
        allowed = " ".join(sorted(MODES[order.direction]))
        check.refuse(
            "mode", "mode_of_direction", order.mode, f"{order.direction}: {allowed}", ("direction",)
        )


def _currency(check: Check) -> None:
    order = check.order
    if order.currency not in EXPONENTS:
        check.refuse("currency", "is_currency", order.currency, "an ISO 4217 currency settled here")
    elif order.direction == "import" and order.currency != "CNY":
        check.refuse("currency", "currency_of_import", order.currency, "CNY", ("direction",))
    elif order.currency not in DECLARABLE_CURRENCIES:
        expected = "one of " + " ".join(sorted(DECLARABLE_CURRENCIES))
        check.refuse("currency", "declarable_currency", order.currency, expected, ("direction",))


def _one_spelling(check: Check) -> None:
    """Require plain characters in numbers: two spellings of one number would be two orders or
    persons."""
    order = check.order
    _number(check, "order_no", order.order_no)
    _number(check, "payment.token", order.payment.token)
    _number(check, "buyer.id_number", order.buyer.id_number)
    _number(check, "payment.payer.id_number", order.payment.payer.id_number)
    if order.logistics_no is not None:
        _number(check, "logistics_no", order.logistics_no)
    for index, line in enumerate(order.lines):
        if not line.sku.isascii():
            _number(check, f"lines[{index}].sku", line.sku)


def _number(check: Check, field: str, number: str) -> None:
    if number.isascii():
        return
    hidden, other = hidden_in(number), other_spelling_in(number)
    if hidden is not None:
        check.refuse(field, "is_seen", hidden, "no characters that cannot be seen")
    elif other is not None:
        check.refuse(
            field, "is_one_spelling", other, "no full-width or other compatibility characters"
        )


def _logistics_no(check: Check) -> None:
    number, longest = check.order.logistics_no, LOGISTICS_NO_MAX[check.order.direction]
    if number is None:
        return
    if len(number) > longest:
        check.refuse(
            "logistics_no",
            "length_max",
            f"{len(number)} characters",
            f"at most {longest} characters",
            ("direction",),
        )
    elif is_like_postal_item(number) and not is_postal_item(number):
        check.refuse("logistics_no", "is_s10", "check digit wrong", "UPU S10 with its check digit")


_RULES: Final[tuple[Callable[[Check], None], ...]] = (
    _placed_at,
    _mode,
    check_countries,
    _currency,
    check_enterprises,
    check_persons,
    check_consignee,
    _one_spelling,
    _logistics_no,
    check_amounts,
    check_lines,
    check_sums,
)
