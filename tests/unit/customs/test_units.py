"""A unit or a bill's number is known, left out, or refused by name; never made up."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.customs import policy_file
from services.customs.ceb.sign import Signer, ensure_keys
from services.customs.domain.declaration import Declaration
from services.customs.gateway import Authority
from services.customs.particulars import NotLodgeable
from services.customs.statutory_units import in_unit
from shared.events.orders import Line, NetContent
from shared.events.persons import ConsigneeParticulars, Particulars
from shared.sealing import bound, seal
from tests.unit.customs.documents import ORDER_ID, PERSON, order, waybill

GUID = "0B6B2C5E-7C1D-4E0A-9F57-1D2A6F0C9A01"


def line(
    unit: str, content: NetContent | None = None, quantity: str = "3", weight: str = "1.5"
) -> Line:
    of_order = order().lines[0]
    return of_order.model_copy(
        update={
            "unit": unit,
            "net_content": content,
            "quantity": Decimal(quantity),
            "net_weight_kg": Decimal(weight),
        }
    )


def content(value: str, unit: Any) -> NetContent:
    return NetContent(value=Decimal(value), unit=unit)


@pytest.mark.parametrize(
    ("of_order", "unit", "known"),
    [
        (line("bottle"), "kg", "1.5"),
        (line("bottle"), "g", "1500"),
        (line("bottle", weight="0.00001"), "t", "0.00001"),
        (line("bottle"), "bottle", "3"),
        (line("piece"), "item", "3"),
        (line("pcs"), "piece", "3"),
        (line("bottle", content("750", "ml")), "l", "2.25"),
        (line("bottle", content("750", "ml")), "ml", "2250"),
        (line("box", content("12", "piece")), "piece", "36"),
        (line("bottle"), "item", None),
        (line("box"), "piece", None),
        (line("bottle"), "l", None),
        (line("bottle", content("50", "g")), "l", None),
        (line("kg"), "pair", None),
    ],
)
def test_what_is_not_known_in_a_statutory_unit_is_not_made_up(
    of_order: Line, unit: str, known: str | None
) -> None:
    assert in_unit(of_order, unit) == (None if known is None else Decimal(known))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    keys: Path = tmp_path_factory.mktemp("keys")
    ensure_keys(keys)
    return Authority(policy_file.load(), Signer.from_dir(keys))


KEY = AESGCM(b"k" * 32)


def draft(
    authority: Authority,
    units: tuple[str, str | None],
    number: str = "W1",
    packs: int = 1,
    **changed: Any,
) -> Any:
    by = Authority(replace(authority.policy, statutory={"": units}), authority.signer)
    placed = order().model_copy(update=changed)
    person = Particulars(name="n", id_type="1", id_number="i", phone="1").model_dump_json().encode()
    to = ConsigneeParticulars(name="n", phone="1", address="a").model_dump_json().encode()
    placed = placed.model_copy(
        update={
            "buyer": placed.buyer.model_copy(
                update={"sealed": seal(KEY, person, bound(ORDER_ID, "buyer"))}
            ),
            "consignee": placed.consignee.model_copy(
                update={"sealed": seal(KEY, to, bound(ORDER_ID, "consignee"))}
            ),
        }
    )
    sent = waybill().model_copy(update={"logistics_no": number, "pack_count": packs})
    return by.draft(
        Declaration(ORDER_ID, order=placed, waybill=sent),
        "declare",
        {PERSON: KEY},
        GUID,
        order().placed_at,
    )


def test_a_second_quantity_that_is_not_known_is_left_out(authority: Authority) -> None:
    (of_list,) = draft(authority, ("kg", "item")).lines
    assert (of_list.statutory_quantity, of_list.second_quantity, of_list.second_unit) == (
        Decimal("2.000"),
        None,
        None,
    )
    (of_list,) = draft(authority, ("kg", "kg")).lines
    assert (of_list.second_quantity, of_list.second_unit) == (Decimal("2.000"), "kg")


def test_a_first_quantity_that_is_not_known_is_refused_by_name(authority: Authority) -> None:
    with pytest.raises(NotLodgeable) as refused:
        draft(authority, ("l", None))
    fault = refused.value.fault
    assert (fault.field, fault.rule, fault.found) == (
        "lines[1].unit", "statutory_quantity_is_known", "2 kg of tariff line 0809290000",
    )  # fmt: skip
    assert fault.expected.startswith("a quantity in l")


@pytest.mark.parametrize(
    ("number", "changed", "bill_no"),
    [
        ("W1", {}, "W1"),
        ("9" * 37, {}, "9" * 37),
        ("9" * 38, {}, None),
        ("W1", {"mode": "1210"}, None),
    ],
)
def test_an_imports_bill_is_that_of_its_waybill_or_none(
    authority: Authority, number: str, changed: dict[str, Any], bill_no: str | None
) -> None:
    assert draft(authority, ("kg", None), number, **changed).bill_no == bill_no


@pytest.mark.parametrize(
    ("brand", "of_net", "model"),
    [
        ("Acme", content("50", "ml"), "Acme|50ml"),
        ("Acme", None, "Acme"),
        (None, content("50.00", "ml"), "50ml"),
        (None, None, "Sweet cherries, fresh"),
        ("无品牌", None, "无品牌"),
    ],
)
def test_a_brand_that_the_shop_does_not_tell_is_not_said_to_be_none(
    authority: Authority, brand: str | None, of_net: NetContent | None, model: str
) -> None:
    told = line("kg", of_net).model_copy(update={"brand": brand, "name": "Sweet cherries, fresh"})
    (of_list,) = draft(authority, ("kg", None), lines=(told,)).lines
    assert of_list.model == model


@pytest.mark.parametrize(("direction", "packs"), [("import", 1), ("export", 3)])
def test_an_exports_list_says_how_many_parcels_its_waybill_has(
    authority: Authority, direction: Any, packs: int
) -> None:
    placed = order().model_copy(update={"direction": direction})
    to = (
        placed.consignee.model_copy(update={"country": "RU"})
        if direction == "export"
        else placed.consignee
    )
    assert (
        draft(authority, ("kg", None), packs=3, direction=direction, consignee=to).pack_count
        == packs
    )
