"""A carrier's waybill: what is read, what is one dead letter of its own, and what of it is compared."""

from __future__ import annotations

import json
import os
from decimal import Decimal
from typing import Any

import pytest

from services.customs.match_input import mismatches
from services.customs.waybill import LOGISTICS_NO_MAX, WireWaybill, decode, require_room
from shared.envelope import Record
from shared.errors import Unprocessable
from shared.identity import order_id_of
from shared.sealing import MASTER_KEYS, Sealing
from tests.unit.customs.documents import order, payment, waybill

SEALING = Sealing({name: os.urandom(32) for name in MASTER_KEYS})
ID = order_id_of("1105910159", "W-1")
SENT: dict[str, Any] = {
    "platform_code": "1105910159", "order_no": "W-1", "logistics_code": "31229908QR", "logistics_name": "Sandbox Express",
    "logistics_no": "YT1", "freight": "20.00", "gross_weight_kg": "2.4",
    "consignee": {"name": "李磊", "phone": "10000059911", "country": "CN", "region": "广东省", "city": "深圳市", "address": "科技路1号"},
}  # fmt: skip


def read(sent: dict[str, Any], before: bytes = b"", encoding: str = "utf-8") -> Any:
    value = before + json.dumps(sent).encode(encoding)
    return decode(Record("logistics.waybills", 0, 0, 1_796_000_000_000, b"W-1", value, ()))


@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf", b"\n\xc2\xa0"[:1]])
def test_a_waybill_is_read_with_a_byte_order_mark(before: bytes) -> None:
    (found,) = read(SENT, before)
    assert (found.order_id, found.event.logistics_no) == (ID, "YT1")


@pytest.mark.parametrize("blank", ["", " ", "\t", "\u3000"])
def test_blanks_around_what_names_the_order_are_no_part_of_it(blank: str) -> None:
    spaced = {
        name: blank + SENT[name] + blank
        for name in ("platform_code", "order_no", "logistics_no", "logistics_code")
    }
    (found,) = read({**SENT, **spaced})
    assert (found.order_id, found.event.logistics_no, found.event.logistics_code) == (
        ID,
        "YT1",
        "31229908QR",
    )


def test_utf_16_is_named() -> None:
    with pytest.raises(Unprocessable, match="send UTF-8: the value is UTF-16"):
        read(SENT, encoding="utf-16")


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("logistics_no", "", "at least 1 character"),
        ("logistics_no", "9" * 61, "at most 60 characters"),
        ("logistics_no", "YT\u00011", "can be seen and printed"),
        ("logistics_no", "YT\ufffe1", "can be seen and printed"),
        ("logistics_no", "YT\u200b1", "found U+200B at character 3"),
        ("logistics_no", "ＹＴ1", "found U+FF39 at character 1"),
        ("logistics_name", "x" * 101, "at most 100 characters"),
        ("logistics_name", "Express\uffff", "can be seen and printed"),
        ("logistics_name", "Express\n1", "can be seen and printed"),
        ("logistics_code", "1" * 19, "at most 18 characters"),
        ("gross_weight_kg", "２.4", "gross_weight_kg"),
        ("gross_weight_kg", "1e3", "gross_weight_kg"),
        ("freight", "２０.00", "freight"),
        ("freight", "20.001", "freight or insurance"),
        ("freight", 20, "freight"),
        ("gross_weight_kg", "0.000", "gross_weight_kg: a parcel weighs more than 0"),
        ("pack_count", 0, "pack_count"),
        ("pack_count", 1000, "pack_count"),
        ("pack_count", True, "pack_count: a whole number: found true or false"),
        ("pack_count", "1.5", "pack_count"),
        ("logistics_no", "YT\ufe0f1", "found U+FE0F at character 3"),
        ("logistics_name", "\u3164", "can be seen and printed"),
    ],
    ids=lambda v: ascii(v)[:24],
)
def test_an_unprintable_waybill_is_a_dead_letter_that_names_the_field(
    field: str, value: Any, said: str
) -> None:
    with pytest.raises(Unprocessable) as refused:
        read({**SENT, field: value})
    assert refused.value.reason == "invalid_value"
    assert said in str(refused.value)
    assert field in str(refused.value) or "freight or insurance" in str(refused.value)


@pytest.mark.parametrize(
    "bad",
    [
        {"consignee": {**SENT["consignee"], "address": "x" * 501}},
        {"consignee": "李磊, 10000059911"},
    ],
)
def test_a_dead_letter_quotes_no_person(bad: dict[str, Any]) -> None:
    with pytest.raises(Unprocessable) as refused:
        read({**SENT, **bad})
    assert "李磊" not in str(refused.value)
    assert "xxx" not in str(refused.value)


def test_what_is_only_compared_need_not_fit_a_list() -> None:
    (found,) = read(
        {**SENT, "consignee": {**SENT["consignee"], "address": "x" * 300, "name": "a\u200bb\ufffe"}}
    )
    assert found.order_id == ID


@pytest.mark.parametrize(
    ("direction", "length", "fits"),
    [
        ("import", 60, True),
        ("export", 32, True),
        ("export", 33, False),
        (None, 32, True),
        (None, 33, False),
    ],
)
def test_a_number_must_fit_the_list_of_its_direction(
    direction: str | None, length: int, fits: bool
) -> None:
    sent = waybill(ID).model_copy(update={"logistics_no": "9" * length})
    if fits:
        require_room(sent, direction)
        return
    with pytest.raises(
        Unprocessable,
        match=f"logistics_no has {length} characters: the list of an export has room for 32",
    ):
        require_room(sent, direction)
    assert LOGISTICS_NO_MAX == {"import": 60, "export": 32}


@pytest.mark.parametrize(
    ("direction", "packs", "fits"),
    [
        ("import", 1, True),
        ("import", 2, False),
        ("export", 999, True),
        (None, 1, True),
        (None, 2, False),
    ],
)
def test_an_imports_waybill_is_of_one_parcel(direction: str | None, packs: int, fits: bool) -> None:
    sent = waybill(ID).model_copy(update={"pack_count": packs})
    if fits:
        require_room(sent, direction)
        return
    with pytest.raises(
        Unprocessable, match=f"pack_count is {packs}: the list of an import has room for 1 parcel"
    ):
        require_room(sent, direction)


def test_one_number_is_one_number_however_its_letters_are_composed() -> None:
    (found,) = read({**SENT, "logistics_no": "Cafe\u0301-1", "order_no": "Cafe\u0301-1"})
    assert (found.event.logistics_no, found.order_id) == (
        "Caf\u00e9-1",
        order_id_of("1105910159", "Caf\u00e9-1"),
    )


@pytest.mark.parametrize("field", ["order_no", "platform_code"])
@pytest.mark.parametrize("c", ["\u200b", "\ufeff", "\u3164", "\uff37"])
def test_an_order_is_named_as_the_intake_takes_it_or_the_waybill_is_a_dead_letter(
    field: str, c: str
) -> None:
    with pytest.raises(
        Unprocessable,
        match=f"{field}: send it in plain characters that can be seen: found U\\+{ord(c):04X}",
    ):
        read({**SENT, field: f"{SENT[field]}{c}"})


def test_two_names_of_one_order_agree() -> None:
    (found,) = read({**SENT, "order_id": str(ID)})
    assert found.order_id == ID
    # An earlier release kept the blanks around an order's number.
    was = order_id_of("1105910159", " W-1")
    (found,) = read({**SENT, "order_no": " W-1", "order_id": str(was)})
    assert found.order_id == was
    with pytest.raises(
        Unprocessable, match="order_id is not the order of platform_code and order_no"
    ):
        read({**SENT, "order_id": str(order_id_of("1105910159", "W-2"))})


@pytest.mark.parametrize("escaped", [True, False])
@pytest.mark.parametrize("name", ["logistics_no", "address"])
def test_a_name_that_comes_twice_is_a_dead_letter(name: str, escaped: bool) -> None:
    value = (
        json.dumps(SENT, ensure_ascii=escaped)
        .replace(f'"{name}"', f'"{name}": "x", "{name}"')
        .encode()
    )
    with pytest.raises(Unprocessable, match="a name comes twice"):
        decode(Record("logistics.waybills", 0, 0, 1_796_000_000_000, b"W-1", value, ()))


@pytest.mark.parametrize("escaped", [True, False])
def test_what_looks_like_a_name_in_a_text_is_none(escaped: bool) -> None:
    to = {**SENT["consignee"], "address": 'the "red": house, \\ 5'}
    value = (
        json.dumps({**SENT, "consignee": to}, ensure_ascii=escaped).replace('":', '" :').encode()
    )
    assert (
        len(decode(Record("logistics.waybills", 0, 0, 1_796_000_000_000, b"W-1", value, ()))) == 1
    )


def ordered(**to: Any) -> Any:
    consignee = {**SENT["consignee"], **to}
    area = {name: consignee[name] for name in ("region", "city")}
    placed = order(ID)
    return placed.model_copy(
        update={
            "consignee": placed.consignee.model_copy(
                update={
                    **area,
                    "name_digest": SEALING.digest(consignee["name"]),
                    "phone_digest": SEALING.digest(consignee["phone"]),
                    "address_digest": SEALING.digest(consignee["address"]),
                    "address_digests": SEALING.digests_of_address(
                        **area, address=consignee["address"]
                    ),
                    "name_length": len(consignee["name"]),
                    "phone_length": len(consignee["phone"]),
                    "address_length": len(consignee["address"]),
                }
            )
        }
    )


def shipped(**to: Any) -> Any:
    sent = WireWaybill.model_validate({**SENT, "consignee": {**SENT["consignee"], **to}})
    return sent.digested(SEALING)


@pytest.mark.parametrize(
    ("placed", "sent"),
    [
        ({}, {}),
        ({}, {"address": "广东省深圳市科技路1号"}),
        ({}, {"address": "广东省深圳市科技路1号", "region": None, "city": None}),
        ({"region": None, "city": None, "address": "广东省深圳市科技路1号"}, {}),
        ({"name": "买买提·阿卜杜拉"}, {"name": "买买提•阿卜杜拉"}),
        ({"address": "Main St\u200b 5"}, {"address": "Main St 5"}),
        ({"address": "Straße 5，2号楼"}, {"address": "STRASSE 5,2号楼"}),
        ({"phone": "１0000059911"}, {"phone": "10000059911"}),
    ],
    ids=ascii,
)
def test_what_is_spelled_another_way_is_the_same(
    placed: dict[str, Any], sent: dict[str, Any]
) -> None:
    assert mismatches(ordered(**placed), payment(ID), shipped(**sent)) == []


def test_a_mismatch_of_a_person_says_which_documents_differ_and_how_long_each_is() -> None:
    found = mismatches(ordered(), payment(ID), shipped(name="李", phone="1", address="科技路12号"))
    assert [
        (m.field, m.left.document, m.left.value, m.right.document, m.right.value) for m in found
    ] == [
        ("consignee.name", "order", "2 characters", "waybill", "1 characters"),
        ("consignee.phone", "order", "11 characters", "waybill", "1 characters"),
        ("consignee.address", "order", "5 characters", "waybill", "6 characters"),
    ]
    other = payment(ID).model_copy(update={"payer_name_digest": "other", "payer_name_length": 3})
    (one,) = mismatches(order(ID), other, waybill(ID))
    assert (one.code, one.left.value, one.right.value) == ("47", "another text", "3 characters")


def test_a_parcel_lighter_than_what_is_in_it_is_a_mismatch() -> None:
    light = waybill(ID).model_copy(update={"gross_weight_kg": Decimal("1.999")})
    (found,) = mismatches(order(ID), payment(ID), light)
    assert (found.code, found.field, found.left.value, found.right.value) == (
        "-503001", "gross_weight_kg", "net 2.000", "gross 1.999",
    )  # fmt: skip
    assert (
        mismatches(
            order(ID), payment(ID), waybill(ID).model_copy(update={"gross_weight_kg": Decimal(2)})
        )
        == []
    )
