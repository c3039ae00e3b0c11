"""Generates valid submissions, the same ones for the same seed."""

# ruff: noqa: S107
# A token here is a word of the bank's sandbox and no secret.

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from hashlib import blake2b
from pathlib import Path
from random import Random
from typing import Any, Final

from shared.clock import BEIJING

PLACED_AT: Final = datetime(2026, 11, 23, 9, 0, tzinfo=BEIJING)
"""When sample orders are placed by default."""

PERSONS: Final = 700_000
"""Buyers drawn at random have numbers below this; higher numbers are free for other uses."""

_CATALOGUE: Final[dict[str, Any]] = tomllib.loads(
    (Path(__file__).parent / "catalogue.toml").read_text(encoding="utf-8")
)
PLATFORM_CODE: Final[str] = _CATALOGUE["platform"]["code"]
SAMPLES: Final[tuple[str, ...]] = tuple(_CATALOGUE["samples"])
PLAIN: Final[tuple[str, ...]] = tuple(
    name for name in SAMPLES if _CATALOGUE["samples"][name].get("plain", True)
)
"""The samples that are fulfilled without a word of the sandbox."""

_AREAS: Final = ("110101", "310101")
_SHARE: Final = Decimal("0.7")  # of consumption tax and VAT, within the limits of retail import
_SINGLE_LIMIT: Final = 500_000  # fen
_FEN: Final = Decimal(1)


def submission(
    sample: str,
    number: int,
    *,
    seed: int,
    token: str = "tok_ok",
    marker: str = "",
    prefix: str = "DEMO",
    at: datetime = PLACED_AT,
    person: int | None = None,
    tax_withheld: str | None = None,
) -> dict[str, Any]:
    """Return a submission of `order.submitted.v1`; raise KeyError for an unknown sample.

    `marker` has words for carrier and authority, joined by ".". `person` picks the buyer, otherwise
    the seed does. `tax_withheld` replaces the tax of an import by the catalogue's rates.
    """
    chosen = _CATALOGUE["samples"][sample]
    to = _CATALOGUE["destinations"][chosen["to"]]
    seed_text = f"{prefix}|{seed}|{number}".encode()
    drawn = Random(int.from_bytes(blake2b(seed_text, digest_size=8).digest()))
    index = drawn.randrange(PERSONS) if person is None else person
    goods = [_CATALOGUE["goods"][name] for name in chosen["goods"]]
    lines = [_line(line_no, each, drawn) for line_no, each in enumerate(goods, 1)]
    buyer = _person(index, chosen["to"], to)
    merchant = goods[0]["origin"]
    return {
        "order_no": f"{prefix}-{at:%Y%m%d}-{number:06d}" + (f"~{marker}" if marker else ""),
        "placed_at": at.isoformat(timespec="seconds"),
        "direction": to["direction"],
        "mode": "9610",
        "platform": dict(_CATALOGUE["platform"]),
        "merchant": {**_CATALOGUE["merchants"][merchant], "country": merchant},
        "buyer": buyer,
        "consignee": _consignee(index, chosen["to"], to, buyer),
        "payment": _payment(token, buyer),
        "currency": to["currency"],
        "lines": lines,
        **_amounts(chosen, lines, _fen(to["freight"]), tax_withheld),
    }


def _payment(token: str, buyer: dict[str, Any]) -> dict[str, Any]:
    payer = {name: buyer[name] for name in ("name", "id_type", "id_number")}
    return {**_CATALOGUE["payment"], "token": token, "payer": payer}


def _amounts(
    sample: dict[str, Any], lines: list[dict[str, Any]], freight: int, tax_withheld: str | None
) -> dict[str, str]:
    goods_value = sum(_fen(line["total"]) for line in lines)
    if tax_withheld is not None:
        tax = _fen(tax_withheld)
    else:
        tax = _tax(sample["goods"], lines, freight) if sample["to"] == "CN" else 0
    return {
        "goods_value": _text(goods_value),
        "freight": _text(freight),
        "insurance": "0.00",
        "discount": "0.00",
        "tax_withheld": _text(tax),
        "amount_paid": _text(goods_value + freight + tax),
    }


def _consignee(
    index: int, country: str, to: dict[str, Any], buyer: dict[str, Any]
) -> dict[str, Any]:
    place = to["places"][index % len(to["places"])]
    return {
        "name": buyer["name"],
        "phone": buyer["phone"],
        "country": country,
        "region": place["region"],
        "city": place["city"],
        "address": place["street"].format(n=1 + index % 97),
        "postcode": place["postcode"],
    }


def _line(number: int, goods: dict[str, Any], drawn: Random) -> dict[str, Any]:
    quantity = drawn.randint(1, goods["quantity_max"])
    content = goods.get("net_content")
    return {
        "line_no": number,
        "sku": goods["sku"],
        "name": goods["name"],
        "hs_code": goods["hs_code"],
        "origin": goods["origin"],
        "brand": goods.get("brand"),
        "gtin": goods.get("gtin"),
        "quantity": str(quantity),
        "unit": goods["unit"],
        "net_weight_kg": f"{Decimal(goods['net_weight_kg']) * quantity:f}",
        "net_content": dict(content) if content else None,
        "unit_price": goods["unit_price"],
        "total": _text(_fen(goods["unit_price"]) * quantity),
    }


def _tax(names: list[str], lines: list[dict[str, Any]], freight: int) -> int:
    """Return the tax by the catalogue's rates, rounded per line to the fen.

    Within the limit 70 % of it is due, for one piece above it all.
    """
    total = sum(_fen(line["total"]) for line in lines)
    tax = 0
    for name, line in zip(names, lines, strict=True):
        goods = _CATALOGUE["goods"][name]
        value = _fen(line["total"])
        value += _half_up(Decimal(freight) * value / total)
        share, duty = (
            (_SHARE, "0") if total + freight <= _SINGLE_LIMIT else (_FEN, goods.get("duty", "0"))
        )
        tax += _tax_of(
            value,
            Decimal(duty),
            Decimal(goods.get("consumption", "0")),
            Decimal(goods["vat"]),
            share,
        )
    return tax


def _tax_of(
    value: int, duty_rate: Decimal, consumption_rate: Decimal, vat_rate: Decimal, share: Decimal
) -> int:
    duty = _half_up(value * duty_rate)
    consumption = (value + duty) / (1 - consumption_rate) * consumption_rate
    return (
        duty
        + _half_up(consumption * share)
        + _half_up((value + duty + consumption) * vat_rate * share)
    )


def _half_up(amount: Decimal) -> int:
    return int(amount.quantize(_FEN, rounding=ROUND_HALF_UP))


def _person(index: int, country: str, to: dict[str, Any]) -> dict[str, Any]:
    surname = to["surnames"][index % len(to["surnames"])]
    given = to["given_names"][index // 7 % len(to["given_names"])]
    resident = country == "CN"
    return {
        "name": surname + given if to["name_order"] == "surname_first" else f"{given} {surname}",
        "id_type": "1" if resident else "2",
        "id_number": resident_id(index) if resident else f"TEST{country}{index:07d}",
        "phone": f"{to['phone']}{index % 10 ** to['phone_digits']:0{to['phone_digits']}d}",
    }


def resident_id(index: int, areas: Sequence[str] = _AREAS) -> str:
    """Return the identity number of an invented person born in 1900: valid in form,
    and nobody's.
    """
    area, rest = divmod(index, 365 * 999)
    sequence, day = divmod(rest, 365)
    body = f"{areas[area % len(areas)]}{_day_of_1900(day)}{sequence + 1:03d}"
    check = (1 - 2 * int(body, 13)) % 11
    return body + ("X" if check == 10 else str(check))


@cache
def _day_of_1900(day: int) -> str:
    return (datetime(1900, 1, 1, tzinfo=BEIJING) + timedelta(days=day)).strftime("%Y%m%d")


def _fen(text: str) -> int:
    """Return the minor units of an amount; every currency of the catalogue has two decimals."""
    return int(text.replace(".", ""))


def _text(minor: int) -> str:
    return f"{minor // 100}.{minor % 100:02d}"
