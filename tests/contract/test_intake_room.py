"""Intake has the limits of the last system on the way: every field of an order and a waybill against every column made of it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from types import NoneType
from typing import Any, Final, get_args
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import BaseModel

from deploy.samples import submission
from services.customs import policy_file, waybill
from services.customs.ceb import tables
from services.customs.ceb.elements import Compiled, address_line
from services.customs.ceb.sign import Signer, ensure_keys
from services.customs.domain.declaration import Declaration
from services.customs.domain.returns import Return
from services.customs.gateway import Authority
from services.orders.intake.decoding import read_submission
from services.orders.intake.goods_rules import LINES_MAX
from services.orders.intake.persons import persons_of, seal_persons
from services.orders.intake.placed_order import order_placed
from services.orders.intake.submission import Submission, Submitted
from services.orders.intake.validation import validate
from shared.envelope import Record
from shared.errors import Unprocessable
from shared.money import Money
from shared.sealing import MASTER_KEYS, Sealing

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
SAMPLE: Final = {"import": "basket", "export": "garments_de"}
MESSAGES: Final[dict[str, tuple[Compiled, ...]]] = {
    "import": (tables.IMPORT_HEAD, tables.IMPORT_LINE, tables.IMPORT_CANCEL, tables.IMPORT_RETURN_HEAD, tables.IMPORT_RETURN_LINE),
    "export": (
        tables.EXPORT_HEAD, tables.EXPORT_LINE, tables.EXPORT_CANCEL, tables.EXPORT_RETURN_HEAD, tables.EXPORT_RETURN_LINE,
        tables.SUMMARY_HEAD,
    ),
}  # fmt: skip

OF_ORDER: Final[Mapping[str, str]] = {
    "order_no": "order_no", "platform.code": "platform.code", "platform.name": "platform.name", "merchant.code": "merchant.code",
    "merchant.name": "merchant.name", "owner.code": "merchant.code", "owner.name": "merchant.name",
    "buyer_id_type": "buyer.id_type", "buyer_id_number": "buyer.id_number", "buyer_name": "buyer.name", "buyer_phone": "buyer.phone",
    "consignee_address": "consignee.address", "trade_mode": "mode", "country": "consignee.country", "freight": "freight",
    "insurance": "insurance", "net_weight_kg": "lines[0].net_weight_kg", "line_no": "lines[0].line_no", "sku": "lines[0].sku",
    "record_no": "lines[0].sku", "name": "lines[0].name", "hs_code": "lines[0].hs_code", "model": "lines[0].brand",
    "gtin": "lines[0].gtin", "origin": "lines[0].origin", "quantity": "lines[0].quantity", "unit": "lines[0].unit",
    "unit_price": "lines[0].unit_price", "total": "lines[0].total", "statutory_quantity": "lines[0].quantity",
    "second_quantity": "lines[0].net_weight_kg",
}  # fmt: skip
"""Which field of an order each column of a message is printed from."""
OF_WAYBILL: Final[Mapping[str, str]] = {
    "logistics.code": "logistics_code", "logistics.name": "logistics_name", "logistics_no": "logistics_no", "bill_no": "logistics_no",
    "gross_weight_kg": "gross_weight_kg", "pack_count": "pack_count",
}  # fmt: skip
OURS: Final = frozenset({
    "guid", "app_type", "app_time", "customs_code", "port_code", "cop_no", "pre_no", "invt_no", "guarantor_code", "ledger_no",
    "crossing_on", "agent.code", "agent.name", "area.code", "area.name", "traf_mode", "vehicle", "voyage_no", "site_code",
    "wrap_type", "note", "statutory_unit", "second_unit", "statistics_flag", "total_package_no", "destination_port", "reason",
    "broker.code", "broker.name", "summary_flag", "item_name_flag", "count", "seq",
})  # fmt: skip
"""Columns printed from the declarant's policy, from what the authority said, or from nothing."""
UNPRINTED: Final = frozenset({
    "placed_at", "direction", "merchant.country", "consignee.name", "consignee.phone", "consignee.postcode", "consignee.region",
    "consignee.city", "payment.enterprise_code", "payment.token", "payment.payer.name", "payment.payer.id_type",
    "payment.payer.id_number", "currency", "goods_value", "discount", "tax_withheld", "amount_paid", "logistics_no",
    "lines[0].net_content.value", "lines[0].net_content.unit",
})  # fmt: skip
"""Fields that stand in no column by themselves; region and city are held with the address, net contents with the brand."""
MONEY: Final = ("freight", "insurance", "total")


def leaves(model: type[BaseModel], path: str = "") -> Iterator[str]:
    """The paths of the fields of a submission."""
    for name, field in model.model_fields.items():
        kinds = [
            kind for kind in (field.annotation, *get_args(field.annotation)) if kind is not NoneType
        ]
        models = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        at = f"{path}{name}[0]." if name == "lines" else f"{path}{name}."
        yield from leaves(models[0], at) if models else (at[:-1],)


def put(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    changed: dict[str, Any] = json.loads(json.dumps(document))
    place: Any = changed
    *steps, last = path.replace("[0]", ".0").split(".")
    for step in steps:
        place = place[int(step)] if step.isdigit() else place[step]
    place[last] = value
    return changed


def is_taken(document: dict[str, Any]) -> bool:
    try:
        (found,) = read_submission(json.dumps(document).encode(), ())
    except Unprocessable:
        return False
    assert isinstance(found, Submitted)
    return not validate(found, NOW)


def longest(takes: Callable[[str], bool]) -> str | None:
    """The longest text that is taken, up to 2,000 characters; None where no free text is."""
    texts = ["车" * n for n in range(1, 2001)]
    if not takes(texts[0]):
        return None
    low, high = 0, len(texts)
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (middle, high) if takes(texts[middle]) else (low, middle)
    assert low < len(texts) - 1, "a text of intake has no limit"
    return texts[low]


# Values at the ends of what the other fields take; a test below shows that intake takes them.
ENDS: Final[Mapping[str, tuple[Any, ...]]] = {
    "platform.code": ("1105910159", "91350100M000100Y43"), "merchant.code": ("46016602EV", "91350100M000100Y43"),
    "buyer.id_type": ("1", "2"), "buyer.id_number": ("11010519491231002X",), "buyer.phone": ("1" * 20, "+49 (0)151-2345 6789 0123"),
    "mode": ("9610", "1210"), "consignee.country": ("CN", "DE", "RU"), "freight": ("0", "999999999.99"),
    "insurance": ("0", "999999999.99"), "lines[0].net_weight_kg": ("0.00001", "999999.99999"), "lines[0].line_no": (1, 100),
    "lines[0].hs_code": ("6109100000",), "lines[0].gtin": ("4006381333931", "14006381333938"), "lines[0].origin": ("US", "CN"),
    "lines[0].quantity": ("0.00001", "999999999.99999"), "lines[0].unit": ("kg", "pcs", "bottle"),
    "lines[0].unit_price": ("0.00001", "999999999.99999"), "lines[0].total": ("0", "999999999.99"),
}  # fmt: skip


@pytest.mark.parametrize("direction", ["import", "export"])
def test_every_field_and_every_column_is_held_against_the_other(direction: str) -> None:
    columns = {source for table in MESSAGES[direction] for source, *_ in table if source}
    assert columns <= {*OF_ORDER, *OF_WAYBILL, *OURS}, "say what the new column is printed from"
    assert set(leaves(Submission)) == {*OF_ORDER.values(), *UNPRINTED}, (
        "say where the new field is printed"
    )


def converted(source: str, value: Any, currency: str) -> Any:
    """A value of the wire as the message's own document has it."""
    if source in MONEY:
        return Money.of(value, currency)
    if isinstance(value, str) and source in (
        "unit_price",
        "quantity",
        "statutory_quantity",
        "second_quantity",
        "net_weight_kg",
    ):
        return Decimal(value)
    return value


@pytest.mark.parametrize("direction", ["import", "export"])
def test_the_longest_value_that_intake_takes_fits_every_column_it_is_printed_in(
    direction: str,
) -> None:
    order = submission(SAMPLE[direction], 1, seed=1)
    held = set()
    for table in MESSAGES[direction]:
        for source, opening, _, _, write, _ in table:
            field = OF_ORDER.get(source)
            if field is None:
                continue
            free = longest(lambda text, at=field: is_taken(put(order, at, text)))  # type: ignore[misc]
            values = [free] if free is not None else list(ENDS[field])
            for value in values:
                text = f"{value}|99999999999999.99999piece" if source == "model" else value
                if source == "consignee_address":
                    text = address_line(
                        order["consignee"]["region"], order["consignee"]["city"], str(value)
                    )
                write(converted(source, text, order["currency"]))
                held.add((field, opening))
    assert len(held) > 25


@pytest.mark.parametrize("direction", ["import", "export"])
def test_a_waybill_that_is_taken_fits_every_column_it_is_printed_in(direction: str) -> None:
    sent = {"order_id": str(UUID(int=7)), "logistics_code": "L", "logistics_name": "L", "logistics_no": "1", "freight": "1",
            "gross_weight_kg": "1", "consignee": {"name": "n", "phone": "1", "country": "CN", "address": "a"}}  # fmt: skip

    def takes(field: str, text: str | int) -> bool:
        try:
            (found,) = waybill.decode(
                Record(
                    "w",
                    0,
                    0,
                    1_796_000_000_000,
                    None,
                    json.dumps({**sent, field: text}).encode(),
                    (),
                )
            )
            waybill.require_room(found.event, direction)
        except Unprocessable:
            return False
        return True

    for table in MESSAGES[direction]:
        for source, _, _, _, write, _ in table:
            field = OF_WAYBILL.get(source)
            if field is None:
                continue
            if field == "gross_weight_kg":
                assert takes(field, "9" * 14 + ".99999")
                write(Decimal("9" * 14 + ".99999"))
                continue
            if field == "pack_count":
                write(max(n for n in range(2000) if takes(field, n)))
                continue
            text = longest(lambda text, at=field: takes(at, text))  # type: ignore[misc]
            assert text is not None
            write(
                text[:37] if source == "bill_no" else text
            )  # a longer number is left out of an import's list


def test_every_field_of_a_waybill_is_printed_compared_or_read() -> None:
    read = {
        "order_id",
        "platform_code",
        "order_no",
        "currency",
        "freight",
        "insurance",
        "consignee",
        "issued_at",
    }
    assert set(waybill.WireWaybill.model_fields) == {*OF_WAYBILL.values()} | read, (
        "say where the new field is printed"
    )


def test_an_imports_list_says_one_parcel_and_no_waybill_says_another_number() -> None:
    columns = {opening: (source, write) for source, opening, _, _, write, _ in tables.IMPORT_HEAD}
    source, write = columns["<packNo>"]
    assert (source, write(None)) == ("", "1")
    assert waybill.PACKS_MAX["import"] == 1


BETWEEN_FIELDS: Final = frozenset(
    {"price_times_quantity", "country_of_direction", "resident_buyer", "amount_composition"}
)


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, values in ENDS.items() for value in values]
)
def test_intake_takes_the_values_at_the_ends(field: str, value: Any) -> None:
    found = set()
    for direction, sample in SAMPLE.items():
        (read,) = read_submission(
            json.dumps(put(submission(sample, 1, seed=1), field, value)).encode(), ()
        )
        assert isinstance(read, Submitted)
        found |= {
            direction
            for f in validate(read, NOW)
            if f.field == field and f.rule not in BETWEEN_FIELDS
        }
    assert len(found) < len(SAMPLE)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    keys = tmp_path_factory.mktemp("keys")
    ensure_keys(keys)
    return Authority(policy_file.load(), Signer.from_dir(keys))


def largest(direction: str, mode: str) -> dict[str, Any]:
    """An order in which every text is as long as intake takes it."""
    order = submission(SAMPLE[direction], 1, seed=1)
    order |= {"mode": mode, "order_no": "车" * 60}
    order["platform"]["name"] = order["merchant"]["name"] = "车" * 100
    order["buyer"]["name"] = "车" * 60
    order["consignee"] |= {
        "region": "车" * 60,
        "city": "车" * 60,
        "address": "车" * 78,
        "name": "车" * 100,
    }
    line = order["lines"][0]
    lines = [
        {**line, "line_no": n, "name": "车" * 250, "sku": "车" * 20, "brand": "车" * 100,
         "net_content": {"value": "999999999.99999", "unit": "piece"}}
        for n in range(1, LINES_MAX[direction] + 1)
    ]  # fmt: skip
    total = Decimal(line["total"]) * len(lines)
    paid = total + Decimal(order["freight"]) + Decimal(order["tax_withheld"])
    return order | {"lines": lines, "goods_value": f"{total:f}", "amount_paid": f"{paid:f}"}


@pytest.mark.parametrize(
    ("direction", "mode"),
    [("import", "9610"), ("import", "1210"), ("export", "9610"), ("export", "9710")],
)
@pytest.mark.parametrize("kind", ["declare", "cancel", "return"])
def test_the_largest_order_that_is_taken_is_printed(
    authority: Authority, direction: str, mode: str, kind: Any
) -> None:
    (found,) = read_submission(json.dumps(largest(direction, mode)).encode(), ())
    assert isinstance(found, Submitted)
    assert validate(found, NOW) == ()
    sealing = Sealing({name: os.urandom(32) for name in MASTER_KEYS})
    keys = {person: AESGCM(os.urandom(32)) for person in persons_of(found.submission, sealing)}
    order = order_placed(found, *seal_persons(found, keys, sealing))
    number = "9" * waybill.LOGISTICS_NO_MAX[direction]
    sent = waybill.WireWaybill.model_validate({
        "order_id": order.order_id, "logistics_code": "9" * 18, "logistics_name": "车" * 100, "logistics_no": number,
        "freight": "1", "gross_weight_kg": "9" * 14 + ".99999",
        "consignee": {"name": "n", "phone": "1", "country": "CN", "address": "a"},
    }).digested(sealing)  # fmt: skip
    d = Declaration(
        order.order_id, order=order, waybill=sent, direction=direction, invt_no="2" * 18, pre_no="3" * 18,
        returns=(Return(1, "asked", (), True, NOW),) if kind == "return" else (),
    )  # fmt: skip
    draft = authority.draft(d, kind, keys, "0B6B2C5E-7C1D-4E0A-9F57-1D2A6F0C9A01", NOW)
    printed = authority.printed(d, kind, draft)
    assert b"9" * 18 in printed.xml or (direction, kind) == ("export", "cancel")


def test_one_letter_more_is_refused_by_name() -> None:
    order = largest("import", "9610")
    order["consignee"]["address"] += "车"
    (found,) = read_submission(json.dumps(order).encode(), ())
    assert isinstance(found, Submitted)
    assert [(f.field, f.rule, f.found) for f in validate(found, NOW)] == [
        ("consignee.address", "length_max", "201 characters")
    ]
