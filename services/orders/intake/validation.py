"""Every rule a submission must keep beyond its shape; a refusal lists all that are broken at once. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

from services.orders.intake.codes import (
    DECLARABLE_COUNTRIES,
    DECLARABLE_CURRENCIES,
    UNITS,
    is_country,
)
from services.orders.intake.identifiers import (
    FOREIGN_PLATFORM,
    enterprise_code_fault,
    is_gtin,
    is_like_postal_item,
    is_postal_item,
    is_telephone,
    resident_id_fault,
)
from services.orders.intake.redaction import echo, redacted
from services.orders.intake.schema_faults import limited
from services.orders.intake.submission import Goods, Payer, Submitted
from shared.events.base import Fault
from shared.money import EXPONENTS
from shared.texts import hidden_in, other_spelling_in

MODES: Final[dict[str, frozenset[str]]] = {
    "import": frozenset({"9610", "1210"}),
    "export": frozenset({"9610", "9710", "9810", "1210"}),
}
HS_DIGITS: Final = 10
"""gcode: the 8-digit line and 2 supplementary digits, for imports and for the consolidated export lists (statisticsFlag B)
declared here; fewer are for simplified lists (A) [S22 CEB604]."""
LINES_MAX: Final = {"import": 99, "export": 100}  # CEB311 and CEB303 [X22]
LOGISTICS_NO_MAX: Final = {"import": 60, "export": 32}  # CEB511 and CEB505 [S22]
LISTED_ADDRESS_MAX: Final = (
    200  # consigneeAddress of CEB621, which has region, city and street in one [X22]
)
PLACED_EARLIEST: Final = datetime(2013, 1, 1, tzinfo=UTC)
AHEAD_MAX: Final = timedelta(hours=24)
AMOUNT_MAX: Final = Decimal(1_000_000_000)
"""No amount in major units, price or quantity is larger: not a policy, but where a number stops being one of an order."""
WEIGHT_MAX_KG: Final = Decimal(1_000_000)

_ZERO: Final = Decimal(0)
_HEAD_AMOUNTS: Final = (
    "goods_value",
    "freight",
    "insurance",
    "discount",
    "tax_withheld",
    "amount_paid",
)
_STEPS: Final = {exponent: Decimal(1).scaleb(-exponent) for exponent in set(EXPONENTS.values())}
"""The smallest amount of a currency, by its number of decimals."""
_INDEX: Final = re.compile(r"\[[0-9]+\]")


class _Check:
    """Collects faults; a rule that reads a broken value is passed over, since what it found would not be what came."""

    def __init__(self, submitted: Submitted, now: datetime) -> None:
        self.order = submitted.submission
        self.now = now
        self.faults: list[Fault] = list(submitted.shape_faults)
        self._broken = submitted.broken | {_INDEX.sub("[*]", path) for path in submitted.broken}

    def refuse(
        self, field: str, rule: str, found: str, expected: str, reads: tuple[str, ...] = ()
    ) -> None:
        if self._broken and not all(self._is_sound(path) for path in (field, *reads)):
            return
        self.faults.append(Fault(field=field, rule=rule, found=found, expected=expected))

    def _is_sound(self, path: str) -> bool:
        if path in self._broken:
            return False
        return not any(path[: mark.start()] in self._broken for mark in re.finditer(r"[.\[]", path))


def validate(submitted: Submitted, now: datetime) -> tuple[Fault, ...]:
    """Every fault of the submission, those of its shape included; `now` is when it came. None means accepted."""
    check = _Check(submitted, now)
    for rule in _RULES:
        rule(check)
    return limited(check.faults)


def _placed_at(check: _Check) -> None:
    at = check.order.placed_at
    if at < PLACED_EARLIEST:
        check.refuse("placed_at", "not_before", at.isoformat(), "2013-01-01 or later")
    elif at > check.now + AHEAD_MAX:
        check.refuse("placed_at", "not_in_future", at.isoformat(), "at most 24 hours ahead")


def _mode(check: _Check) -> None:
    order = check.order
    if order.mode not in MODES[order.direction]:
        allowed = " ".join(sorted(MODES[order.direction]))
        check.refuse(
            "mode", "mode_of_direction", order.mode, f"{order.direction}: {allowed}", ("direction",)
        )


def _place(check: _Check) -> None:
    order = check.order
    for field, code in (
        ("merchant.country", order.merchant.country),
        ("consignee.country", order.consignee.country),
    ):
        if code is not None and not is_country(code):
            check.refuse(field, "is_country", code, "ISO 3166-1 alpha-2")
    inward = order.direction == "import"
    # Only the far end stands on a list, and of goods out of a bonded warehouse that is China.
    if inward and order.merchant.country is not None and order.mode != "1210":
        _declarable(check, "merchant.country", order.merchant.country)
    elif not inward:
        _declarable(check, "consignee.country", order.consignee.country)
    if is_country(order.consignee.country) and inward is not (order.consignee.country == "CN"):
        expected = "CN for an import" if inward else "another country than CN for an export"
        check.refuse(
            "consignee.country",
            "country_of_direction",
            order.consignee.country,
            expected,
            ("direction",),
        )


def _declarable(check: _Check, field: str, country: str) -> None:
    """No order is taken whose list could never be written."""
    if is_country(country) and country not in DECLARABLE_COUNTRIES:
        expected = "a country with a code of the authority (JGS-20) in gacc.toml"
        check.refuse(field, "declarable_country", country, expected, ("direction",))


def _currency(check: _Check) -> None:
    order = check.order
    if order.currency not in EXPONENTS:
        check.refuse("currency", "is_currency", order.currency, "an ISO 4217 currency settled here")
    elif order.direction == "import" and order.currency != "CNY":
        check.refuse("currency", "currency_of_import", order.currency, "CNY", ("direction",))
    elif order.currency not in DECLARABLE_CURRENCIES:
        expected = "one of " + " ".join(sorted(DECLARABLE_CURRENCIES))
        check.refuse("currency", "declarable_currency", order.currency, expected, ("direction",))


def _enterprises(check: _Check) -> None:
    order = check.order
    for field, code in (
        ("platform.code", order.platform.code),
        ("merchant.code", order.merchant.code),
        ("payment.enterprise_code", order.payment.enterprise_code),
    ):
        if code == FOREIGN_PLATFORM:
            # A foreign platform without a registration, on export only [S22, A1].
            if field != "platform.code" or order.direction != "export":
                check.refuse(
                    field,
                    "is_enterprise_code",
                    code,
                    "a code; 无 stands for a foreign platform of an export",
                    ("direction",),
                )
        elif (wrong := enterprise_code_fault(code)) is not None:
            check.refuse(
                field,
                "is_enterprise_code",
                wrong,
                "customs registration (10) or unified social credit code (18)",
            )


def _persons(check: _Check) -> None:
    order = check.order
    _person(check, "buyer", order.buyer)
    _person(check, "payment.payer", order.payment.payer)
    if order.direction == "import" and order.buyer.id_type != "1":
        check.refuse(
            "buyer.id_type",
            "resident_buyer",
            order.buyer.id_type,
            "1 for an import",
            ("direction",),
        )
    if order.buyer.phone is None:
        if order.direction == "import":
            check.refuse(
                "buyer.phone",
                "required",
                "nothing",
                "a telephone number for an import",
                ("direction",),
            )
    elif not is_telephone(order.buyer.phone):
        check.refuse(
            "buyer.phone",
            "is_telephone",
            redacted("buyer.phone", order.buyer.phone),
            "6 to 20 digits",
        )
    if not is_telephone(order.consignee.phone):
        check.refuse(
            "consignee.phone",
            "is_telephone",
            redacted("consignee.phone", order.consignee.phone),
            "6 to 20 digits",
        )


def _person(check: _Check, field: str, person: Payer) -> None:
    if person.id_type != "1":
        return
    wrong = resident_id_fault(person.id_number, check.now.date())
    if wrong is not None:
        expected = "18 characters with a birth date that exists and the right check digit"
        check.refuse(f"{field}.id_number", "is_resident_id", wrong, expected, (f"{field}.id_type",))


def _consignee(check: _Check) -> None:
    if check.order.direction == "import":
        # As customs prints it, with a blank between the parts; an export list names no consignee.
        to = check.order.consignee
        length = sum(len(part) + 1 for part in (to.region, to.city, to.address) if part) - 1
        if length > LISTED_ADDRESS_MAX:
            expected = (
                f"at most {LISTED_ADDRESS_MAX} characters with region and city before the street"
            )
            reads = ("direction", "consignee.region", "consignee.city")
            check.refuse("consignee.address", "length_max", f"{length} characters", expected, reads)
    postcode = check.order.consignee.postcode
    if (
        postcode is not None
        and check.order.consignee.country == "CN"
        and not re.fullmatch("[0-9]{6}", postcode)
    ):
        found = redacted("consignee.postcode", postcode)
        check.refuse(
            "consignee.postcode", "is_postcode", found, "6 digits in CN", ("consignee.country",)
        )


def _one_spelling(check: _Check) -> None:
    """A number that could be written plainer would be another order, person or parcel than the one that looks like it."""
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


def _number(check: _Check, field: str, number: str) -> None:
    if number.isascii():
        return
    hidden, other = hidden_in(number), other_spelling_in(number)
    if hidden is not None:
        check.refuse(field, "is_seen", hidden, "no characters that cannot be seen")
    elif other is not None:
        check.refuse(
            field, "is_one_spelling", other, "no full-width or other compatibility characters"
        )


def _logistics_no(check: _Check) -> None:
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


def _amounts(check: _Check) -> None:
    order = check.order
    for field in _HEAD_AMOUNTS:
        _amount(check, field, getattr(order, field))
    for field, amount in (("goods_value", order.goods_value), ("amount_paid", order.amount_paid)):
        if amount == _ZERO:
            check.refuse(field, "positive", "0", "more than 0")


def _amount(check: _Check, field: str, amount: Decimal) -> None:
    if amount < _ZERO:
        check.refuse(field, "not_negative", f"{amount:f}", "0 or more")
    elif amount > AMOUNT_MAX:
        check.refuse(field, "amount_max", f"{amount:f}", f"at most {AMOUNT_MAX}")
    exponent = EXPONENTS.get(check.order.currency)
    if exponent is not None and amount != amount.quantize(_STEPS[exponent]):
        check.refuse(
            field,
            "decimals",
            f"{amount:f}",
            f"at most {exponent} decimals in {check.order.currency}",
            ("currency",),
        )


def _sums(check: _Check) -> None:
    order = check.order
    total = sum((line.total for line in order.lines), _ZERO)
    if order.goods_value != total:
        check.refuse(
            "goods_value",
            "sum_of_lines",
            f"{order.goods_value:f}",
            f"{total:f}",
            ("lines", "lines[*]", "lines[*].total"),
        )
    paid = order.goods_value + order.freight + order.insurance + order.tax_withheld - order.discount
    if order.amount_paid != paid:
        check.refuse(
            "amount_paid",
            "amount_composition",
            f"{order.amount_paid:f}",
            f"{paid:f}",
            _HEAD_AMOUNTS,
        )


def _lines(check: _Check) -> None:
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
        found = " ".join(echo(str(number)) for number in numbers[:20])
        check.refuse(
            "lines",
            "line_numbers",
            found,
            f"1 to {len(lines)}, each once",
            ("lines[*]", "lines[*].line_no"),
        )
    for index, line in enumerate(lines):
        _goods(check, f"lines[{index}]", line)


def _goods(check: _Check, at: str, line: Goods) -> None:
    direction = check.order.direction
    digits = len(line.hs_code)
    if digits != HS_DIGITS:
        check.refuse(f"{at}.hs_code", "is_hs_code", f"{digits} digits", f"{HS_DIGITS} digits")
    if not is_country(line.origin):
        check.refuse(f"{at}.origin", "is_country", line.origin, "ISO 3166-1 alpha-2")
    elif direction == "import":
        _declarable(check, f"{at}.origin", line.origin)
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


def _quantities(check: _Check, at: str, line: Goods) -> None:
    for field, value, most in (
        ("quantity", line.quantity, AMOUNT_MAX),
        ("net_weight_kg", line.net_weight_kg, WEIGHT_MAX_KG),
    ):
        if not _ZERO < value <= most:
            check.refuse(f"{at}.{field}", "positive", f"{value:f}", f"more than 0, at most {most}")
    content = line.net_content
    if content is not None and not _ZERO < content.value <= AMOUNT_MAX:
        check.refuse(
            f"{at}.net_content.value",
            "positive",
            f"{content.value:f}",
            f"more than 0, at most {AMOUNT_MAX}",
        )


def _prices(check: _Check, at: str, line: Goods) -> None:
    if line.unit_price < _ZERO:  # a gift has the price 0 [S22 CEB311]
        check.refuse(f"{at}.unit_price", "not_negative", f"{line.unit_price:f}", "0 or more")
    elif line.unit_price > AMOUNT_MAX:
        check.refuse(
            f"{at}.unit_price", "amount_max", f"{line.unit_price:f}", f"at most {AMOUNT_MAX}"
        )
    _amount(check, f"{at}.total", line.total)
    # To the last decimal: customs compares price times quantity with the total and knows no tolerance [S22, 3 rule 12].
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


_RULES: Final[tuple[Callable[[_Check], None], ...]] = (
    _placed_at,
    _mode,
    _place,
    _currency,
    _enterprises,
    _persons,
    _consignee,
    _one_spelling,
    _logistics_no,
    _amounts,
    _lines,
    _sums,
)
