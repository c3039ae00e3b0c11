"""Generated messages are valid by the authority's own schemas, and any text survives the way there."""

from __future__ import annotations

import string
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from services.customs.ceb import codes
from services.customs.ceb.build import (
    CEB,
    MessageTooLarge,
    build_cancellations,
    build_export_lists,
    build_import_lists,
    build_returns,
)
from services.customs.ceb.documents import ListDraft
from services.customs.ceb.elements import NotDeclarable, number
from services.customs.ceb.parse import to_json
from services.customs.ceb.sign import Signer, verify
from services.customs.ceb.validate import SchemaFault, validate
from shared.money import Money
from tests.contract.ceb.samples import (
    AT,
    GUID,
    SCHEMAS,
    TRANSFER,
    cancellation,
    export_list,
    import_list,
    line,
    needs_schemas,
    return_request,
)

MESSAGES: dict[str, Callable[[], bytes]] = {
    "CEB621": lambda: build_import_lists(GUID, TRANSFER, [import_list(1), import_list(2)]),
    "CEB603": lambda: build_export_lists(GUID, TRANSFER, [export_list(1), export_list(2)]),
    "CEB623": lambda: build_cancellations(GUID, TRANSFER, [cancellation()], "import"),
    "CEB605": lambda: build_cancellations(GUID, TRANSFER, [cancellation()], "export"),
    "CEB625": lambda: build_returns(GUID, TRANSFER, [return_request()], "import"),
    "CEB213": lambda: build_returns(GUID, TRANSFER, [return_request()], "export"),
}
NAMED: dict[str, Callable[[str], bytes]] = {
    "CEB621": lambda name: build_import_lists(
        GUID, TRANSFER, [import_list(1, buyer_name=name), import_list(2)]
    ),
    "CEB603": lambda name: build_export_lists(GUID, TRANSFER, [replace(export_list(1), note=name)]),
    "CEB623": lambda name: build_cancellations(
        GUID, TRANSFER, [cancellation(reason=name)], "import"
    ),
    "CEB605": lambda name: build_cancellations(
        GUID, TRANSFER, [cancellation(reason=name)], "export"
    ),
    "CEB625": lambda name: build_returns(GUID, TRANSFER, [return_request(reason=name)], "import"),
    "CEB213": lambda name: build_returns(GUID, TRANSFER, [return_request(reason=name)], "export"),
}
TEXT_OF_XML = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="￾￿")
) | st.text("&<>'\"\r\n\t]]>" + string.ascii_letters)


@needs_schemas
@pytest.mark.parametrize("message", MESSAGES)
def test_a_signed_message_is_valid_by_the_authoritys_schema(message: str, signer: Signer) -> None:
    signed = signer.sign(MESSAGES[message]())
    assert to_json(signed)["message"] == message
    assert validate(signed, SCHEMAS) == []


@needs_schemas
def test_every_optional_field_is_valid_too(signer: Signer) -> None:
    full = import_list(
        trade_mode="1210", country="CN", area=TRANSFER.company, ledger_no="T3105W000001",
        pre_no="B20261123000000001",
        invt_no="22442026I000000001", site_code="2244A", wrap_type="2", crossing_on=AT.date(), note="a & b",
        app_type="2",
        lines=(line(second_quantity=Decimal(1), second_unit="item", gtin="6291041500213", record_no="17",
        note="gift"),),
    )  # fmt: skip
    assert validate(signer.sign(build_import_lists(GUID, TRANSFER, [full])), SCHEMAS) == []
    abroad = replace(
        export_list(
            area=TRANSFER.company,
            ledger_no="T3105W000001",
            site_code="2244A",
            total_package_no="BAG1",
        ),
        note="n",
    )
    assert validate(signer.sign(build_export_lists(GUID, TRANSFER, [abroad])), SCHEMAS) == []


@needs_schemas
def test_an_unsigned_import_list_is_not_valid_and_the_fault_says_what_is_missing() -> None:
    (fault,) = validate(MESSAGES["CEB621"](), SCHEMAS)
    assert fault.element == "CEB621Message"
    assert "Signature" in fault.rule


@needs_schemas
def test_a_schema_fault_names_the_element_but_not_its_text(signer: Signer) -> None:
    bad = signer.sign(MESSAGES["CEB621"]().replace(b"13800000000", b"1" * 31))
    assert validate(bad, SCHEMAS)
    for fault in validate(bad, SCHEMAS):
        assert isinstance(fault, SchemaFault)
        assert fault.element == "buyerTelephone"
        assert "1" * 31 not in fault.rule


def test_the_fields_come_out_under_the_names_of_the_specification() -> None:
    message = to_json(MESSAGES["CEB621"]())
    head, goods = (
        message["Inventory"][0]["InventoryHead"],
        message["Inventory"][0]["InventoryList"][0],
    )
    assert message["guid"] == GUID
    assert head["appTime"] == "20261123090203", "Beijing time"
    assert (head["appStatus"], head["ieFlag"], head["currency"], head["packNo"]) == (
        "2",
        "I",
        "142",
        "1",
    )
    assert (head["country"], head["freight"], head["copNo"]) == (
        "502",
        "20.00",
        "C0000000000000000001",
    )
    assert (goods["gcode"], goods["unit"], goods["qty1"], goods["totalPrice"]) == (
        "0809290000",
        "035",
        "2.000",
        "172.00",
    )
    assert goods["barCode"] == "无"


@settings(max_examples=300, deadline=None)
@given(name=TEXT_OF_XML.filter(lambda text: 1 <= len(text) <= 60))
def test_any_text_that_xml_can_carry_is_read_back_as_it_was(name: str) -> None:
    root = etree.fromstring(build_import_lists(GUID, TRANSFER, [import_list(buyer_name=name)]))
    assert root.findtext(f".//{{{CEB}}}buyerName") == name
    assert len(root) == 2, "the text has not become structure"


@settings(max_examples=100, deadline=None)
@given(
    message=st.sampled_from(sorted(NAMED)),
    name=TEXT_OF_XML.filter(lambda text: 1 <= len(text) <= 60),
)
def test_messages_are_canonical_as_they_are_written_and_are_signed_so(
    message: str, name: str, signer: Signer
) -> None:
    written = NAMED[message](name)
    assert verify(signer.sign(written), signer.certificate) == written.partition(b"\n")[2]
    signed = signer.sign_canonical(written)
    assert verify(signed, signer.certificate) == written.partition(b"\n")[2]
    assert len(signed) - len(written) == signer.bytes_added()


@pytest.mark.parametrize("character", ["\x00", "\x1b", "\x0b", "\ud800", "￾", "￿"])
def test_a_character_that_xml_cannot_carry_is_refused_by_field(character: str) -> None:
    with pytest.raises(
        NotDeclarable, match="buyer_name \\(buyerName\\) holds a character"
    ) as refused:
        build_import_lists(GUID, TRANSFER, [import_list(buyer_name=f"张{character}三")])
    assert refused.value.cop_no == import_list().cop_no
    assert "张" not in str(refused.value)


@pytest.mark.parametrize(
    ("changed", "field", "rule"),
    [
        ({"buyer_phone": "1" * 31}, "buyer_phone", "has 31 characters, the message takes 1 to 30"),
        ({"buyer_name": None}, "buyer_name", "is missing"),
        ({"cop_no": "C" * 21}, "cop_no", "has 21 characters, the message takes 1 to 20"),
        (
            {"country": "XX"},
            "country",
            "country (ISO 3166-1 alpha-2) 'XX' has no code in the authority's list here",
        ),
        (
            {"lines": (line(unit="furlong"),)},
            "unit",
            "unit of quantity 'furlong' has no code in the authority's list here",
        ),
        (
            {"freight": Money.of("1.00", "USD")},
            "freight",
            "is in USD, an import message has CNY only",
        ),
        ({"gross_weight_kg": Decimal("1.000001")}, "gross_weight_kg", "has more than 5 decimals"),
        (
            {"gross_weight_kg": Decimal("0.1234500000000000000000000000000001")},
            "gross_weight_kg",
            "has more than 5 decimals",
        ),
        ({"gross_weight_kg": Decimal("1e19")}, "gross_weight_kg", "has more than 19 digits"),
        ({"app_time": datetime(2026, 11, 23)}, "app_time", "has no time zone"),  # noqa: DTZ001
        ({"lines": ()}, "lines", "are 0, the message takes 1 to 99"),
        (
            {"lines": tuple(line(n) for n in range(1, 101))},
            "lines",
            "are 100, the message takes 1 to 99",
        ),
    ],
)
def test_what_the_message_cannot_say_is_refused_by_field_and_rule(
    changed: dict[str, Any], field: str, rule: str
) -> None:
    with pytest.raises(NotDeclarable) as refused:
        build_import_lists(GUID, TRANSFER, [import_list(1), import_list(2, **changed)])
    assert (refused.value.field, refused.value.rule) == (field, rule)


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=0, max_value=10**13, places=5))
def test_a_number_of_the_message_is_the_same_number(value: Decimal) -> None:
    assert Decimal(number(value)) == value
    assert "E" not in number(value)


def test_zeros_beyond_the_fifth_decimal_are_no_decimals() -> None:
    assert number(Decimal("1.5000000")) == "1.50000"
    assert number(Decimal("0E-9")) == "0.00000"


def test_a_message_has_at_most_100_documents_and_at_least_one() -> None:
    assert (
        len(
            to_json(build_import_lists(GUID, TRANSFER, [import_list(n) for n in range(100)]))[
                "Inventory"
            ]
        )
        == 100
    )
    for lists in ([import_list(n) for n in range(101)], list[ListDraft]()):
        with pytest.raises(MessageTooLarge):
            build_import_lists(GUID, TRANSFER, lists)


def test_documents_too_long_for_one_message_are_refused() -> None:
    long = tuple(line(n, name="车" * 250, model="型" * 510) for n in range(1, 100))
    with pytest.raises(MessageTooLarge, match="put fewer into one message"):
        build_import_lists(GUID, TRANSFER, [import_list(n, lines=long) for n in range(20)])


def test_a_message_guid_is_upper_case() -> None:
    with pytest.raises(ValueError, match="36 upper-case"):
        build_import_lists(GUID.lower(), TRANSFER, [import_list()])


def test_codes_lead_there_and_back() -> None:
    assert codes.country_of(codes.country_code("KR")) == "KR"
    assert codes.currency_of(codes.currency_code("EUR")) == "EUR"
    assert codes.unit_of(codes.unit_code("pcs")) == "piece"
    assert codes.status("-621041").meaning_class == "technical"
    assert codes.status("800").meaning_class == "released"
    for unknown in ("18", "", "abc", "--1"):
        with pytest.raises(codes.UnknownCode):
            codes.status(unknown)
