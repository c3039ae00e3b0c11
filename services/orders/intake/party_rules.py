"""Rules of the enterprises, persons and addresses of an order."""

from __future__ import annotations

import re
from typing import Final

from services.orders.intake.check import Check, require_declarable
from services.orders.intake.codes import is_country
from services.orders.intake.identifiers import (
    FOREIGN_PLATFORM,
    enterprise_code_fault,
    is_telephone,
    resident_id_fault,
)
from services.orders.intake.redaction import redacted
from services.orders.intake.submission import Payer

LISTED_ADDRESS_MAX: Final = 200
"""consigneeAddress of CEB621: region, city and street in one field [X22]."""


def check_countries(check: Check) -> None:
    order = check.order
    for field, code in (
        ("merchant.country", order.merchant.country),
        ("consignee.country", order.consignee.country),
    ):
        if code is not None and not is_country(code):
            check.refuse(field, "is_country", code, "ISO 3166-1 alpha-2")
    inward = order.direction == "import"
    # A list names only the foreign country; goods out of a bonded warehouse come from China.
    if inward and order.merchant.country is not None and order.mode != "1210":
        require_declarable(check, "merchant.country", order.merchant.country)
    elif not inward:
        require_declarable(check, "consignee.country", order.consignee.country)
    _country_of_direction(check, order.consignee.country, inward=inward)


def _country_of_direction(check: Check, country: str, *, inward: bool) -> None:
    if is_country(country) and inward is not (country == "CN"):
        expected = "CN for an import" if inward else "another country than CN for an export"
        check.refuse("consignee.country", "country_of_direction", country, expected, ("direction",))


def check_enterprises(check: Check) -> None:
    order = check.order
    for field, code in (
        ("platform.code", order.platform.code),
        ("merchant.code", order.merchant.code),
        ("payment.enterprise_code", order.payment.enterprise_code),
    ):
        if code == FOREIGN_PLATFORM:
            # A foreign platform without a registration, for exports only [S22, A1].
            if field != "platform.code" or order.direction != "export":
                check.refuse(
                    field,
                    "is_enterprise_code",
                    code,
                    "a code; 无 stands for a foreign platform of an export",
                    ("direction",),
                )
        elif (wrong := enterprise_code_fault(code)) is not None:
            expected = "customs registration (10) or unified social credit code (18)"
            check.refuse(field, "is_enterprise_code", wrong, expected)


def check_persons(check: Check) -> None:
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
    if order.buyer.phone is not None:
        _telephone(check, "buyer.phone", order.buyer.phone)
    elif order.direction == "import":
        expected = "a telephone number for an import"
        check.refuse("buyer.phone", "required", "nothing", expected, ("direction",))
    _telephone(check, "consignee.phone", order.consignee.phone)


def _telephone(check: Check, field: str, phone: str) -> None:
    if not is_telephone(phone):
        check.refuse(field, "is_telephone", redacted(field, phone), "6 to 20 digits")


def _person(check: Check, field: str, person: Payer) -> None:
    if person.id_type != "1":
        return
    wrong = resident_id_fault(person.id_number, check.now.date())
    if wrong is not None:
        expected = "18 characters with a birth date that exists and the right check digit"
        check.refuse(f"{field}.id_number", "is_resident_id", wrong, expected, (f"{field}.id_type",))


def check_consignee(check: Check) -> None:
    if check.order.direction == "import":
        # As customs prints it, with a blank between the parts. An export list names no consignee.
        to = check.order.consignee
        length = sum(len(part) + 1 for part in (to.region, to.city, to.address) if part) - 1
        if length > LISTED_ADDRESS_MAX:
            expected = (
                f"at most {LISTED_ADDRESS_MAX} characters with region and city before the street"
            )
            reads = ("direction", "consignee.region", "consignee.city")
            check.refuse("consignee.address", "length_max", f"{length} characters", expected, reads)
    _postcode(check)


def _postcode(check: Check) -> None:
    postcode, field = check.order.consignee.postcode, "consignee.postcode"
    if postcode is None or check.order.consignee.country != "CN":
        return
    if not re.fullmatch("[0-9]{6}", postcode):
        shown = redacted(field, postcode)
        check.refuse(field, "is_postcode", shown, "6 digits in CN", ("consignee.country",))
