"""Canary persons: invented particulars in orders, and the search for them in any encoding."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final
from urllib.parse import quote

from deploy.samples import submission
from deploy.samples.generate import resident_id

# Each canary has one of these marks inside, so that one search finds them all.
NAME, LATIN, RESIDENT, PASSPORT, PHONE, STREET = (
    "囧犇骉",
    "Zwjqxvo",
    "3101011900",
    "TESTZWJQ",
    "100989731",
    "霹雳巷",
)
MARKS: Final = (NAME, LATIN, RESIDENT, PASSPORT, PHONE, STREET)
POSTCODE: Final = "837261"
_POSTCODE: Final = re.compile(rb"(?<![0-9A-Fa-f.])837261(?![0-9A-Fa-f])")
_RESIDENTS_FROM: Final = 729_000
"""Of the invented persons those above are drawn by nobody else.

All of them have the mark RESIDENT.
"""


def needles(mark: str) -> Iterator[bytes]:
    """How a text looks in bytes: plain, escaped, doubly encoded, in hexadecimal and in base64 at
    any alignment.
    """
    plain = mark.encode()
    yield plain
    yield mark.encode("utf-16-le")
    yield plain.hex().encode()
    if not mark.isascii():
        escaped = json.dumps(mark)[1:-1]
        yield escaped.encode()
        yield re.sub(r"\\u....", lambda m: m[0].upper().replace("U", "u", 1), escaped).encode()
        yield plain.decode("latin-1").encode()
        yield repr(plain)[2:-1].encode()
        yield quote(mark).encode()
    for before in range(3):
        # What stands before and after changes the characters at either edge, so they are left out.
        coded = base64.b64encode(b"\0" * before + plain)
        yield coded[-(-before * 8 // 6) : len(plain + b"\0" * before) * 8 // 6]


@cache
def _all_needles() -> tuple[tuple[str, bytes], ...]:
    return tuple((mark, needle) for mark in MARKS for needle in needles(mark))


def seen_in(haystack: bytes) -> set[str]:
    """The marks found in these bytes, in any form."""
    found = {mark for mark, needle in _all_needles() if needle in haystack}
    return found | {POSTCODE} if _POSTCODE.search(haystack) else found


class Canaries:
    """Makes orders of canary persons; `values` has every canary."""

    def __init__(self) -> None:
        self._count = 0
        self.values: set[str] = {POSTCODE}

    def add(self, value: str) -> str:
        assert seen_in(value.encode()), f"no mark in {value!r}"
        self.values.add(value)
        return value

    def person(self, *, abroad: bool = False) -> dict[str, Any]:
        self._count += 1
        n = self._count
        return {
            "name": self.add(f"{LATIN} Nr{n:03d}" if abroad else f"司马{NAME}{chr(0x4E00 + n)}"),
            "id_type": "2" if abroad else "1",
            "id_number": self.add(
                f"{PASSPORT}{n:04d}" if abroad else resident_id(_RESIDENTS_FROM + n)
            ),
            "phone": self.add(f"{PHONE}{n:02d}"),
        }

    def order(self, sample: str = "cherries", *, payer: bool = False, **how: Any) -> dict[str, Any]:
        """A valid submission; the payer is the buyer unless `payer`."""
        abroad = sample == "toys_us"
        made = submission(
            sample,
            self._count + 1,
            seed=3,
            prefix="CANARY",
            at=datetime.now(UTC) - timedelta(hours=1),
            **how,
        )
        made["buyer"] = self.person(abroad=abroad)
        paying = self.person(abroad=abroad) if payer else made["buyer"]
        made["payment"]["payer"] = {name: paying[name] for name in ("name", "id_type", "id_number")}
        to = self.person(abroad=abroad)
        made["consignee"] |= {
            "name": to["name"],
            "phone": to["phone"],
            "address": self.add(f"{STREET}{self._count}号"),
            "postcode": POSTCODE,
        }
        return made


def _control(value: str) -> str:
    return value + "\u202e"


BROKEN: Final[dict[str, tuple[str, Callable[[Any], Any]]]] = {
    "buyer name with a direction mark": ("buyer.name", _control),
    "buyer name too long": ("buyer.name", lambda value: value * 90),
    "buyer number with a wrong check digit": (
        "buyer.id_number",
        lambda value: value[:-1] + ("0" if value[-1] != "0" else "1"),
    ),
    "buyer number that is a number": ("buyer.id_number", lambda value: int(value[:17])),
    "buyer number of an unknown kind": ("buyer.id_type", lambda _value: "7"),
    "buyer phone in words": ("buyer.phone", lambda value: f"phone {value}"),
    "buyer in one text": ("buyer", lambda value: f"{value['name']} {value['id_number']}"),
    "payer in one text": ("payment.payer", lambda value: f"{value['name']} {value['id_number']}"),
    "payment in one text": ("payment", lambda value: value["payer"]["name"]),
    "consignee in one text": (
        "consignee",
        lambda value: f"{value['name']} {value['address']} {value['postcode']}",
    ),
    "payer name in a list": ("payment.payer.name", lambda value: [value]),
    "payer number too short": ("payment.payer.id_number", lambda value: value[:-1]),
    "consignee name with a control character": ("consignee.name", lambda value: f"{value}\x07"),
    "consignee phone in words": ("consignee.phone", lambda value: f"{value} or so"),
    "consignee address too long": ("consignee.address", lambda value: value * 200),
    "consignee address as an object": ("consignee.address", lambda value: {"street": value}),
    "consignee postcode of another form": ("consignee.postcode", lambda value: f"{value}-Z"),
    "consignee country that is a person": (
        "consignee.country",
        lambda _value: resident_id(_RESIDENTS_FROM),
    ),
    "consignee country that is a name and a street": (
        "consignee.country",
        lambda _value: f"{NAME} {STREET}",
    ),
    "consignee city that is a street": ("consignee.city", lambda _value: f"{STREET} {NAME}\x07"),
    "consignee region that is a person": (
        "consignee.region",
        lambda _value: f"{LATIN} {PHONE}07\x07",
    ),
    "passport for the kind of document": ("buyer.id_type", lambda _value: f"{PASSPORT}0001"),
    "name for the payer's kind of document": ("payment.payer.id_type", lambda _value: NAME),
    "telephone with its country's code for a currency": (
        "currency",
        lambda _value: f"+86{PHONE}07",
    ),
    "identity number for a currency": ("currency", lambda _value: resident_id(_RESIDENTS_FROM)),
    "identity number for an article": (
        "lines.0.hs_code",
        lambda _value: resident_id(_RESIDENTS_FROM),
    ),
    "identity number for an amount": ("amount_paid", lambda _value: resident_id(_RESIDENTS_FROM)),
}
"""Each personal field broken in turn, and personal values in the fields of others."""


def broken(made: dict[str, Any], field: str, breaks: Callable[[Any], Any]) -> dict[str, Any]:
    """The submission with one field broken."""
    *way, last = field.split(".")
    inner: Any = made
    for name in way:
        inner = inner[int(name) if name.isdigit() else name]
    inner[last] = breaks(inner[last])
    return made


def ceb311(made: dict[str, Any]) -> bytes:
    """The submission of cherries as the XML message a platform sends."""
    buyer, to, line = made["buyer"], made["consignee"], made["lines"][0]
    head = {
        "guid": "11111111-2222-3333-4444-555555555555",
        "appType": "1",
        "appTime": datetime.fromisoformat(made["placed_at"]).astimezone().strftime("%Y%m%d%H%M%S"),
        "appStatus": "2",
        "orderType": "I",
        "orderNo": made["order_no"],
        "ebpCode": made["platform"]["code"],
        "ebpName": made["platform"]["name"],
        "ebcCode": made["merchant"]["code"],
        "ebcName": made["merchant"]["name"],
        "goodsValue": made["goods_value"],
        "freight": made["freight"],
        "discount": "0",
        "taxTotal": made["tax_withheld"],
        "acturalPaid": made["amount_paid"],
        "currency": "142",
        "buyerRegNo": "u1",
        "buyerName": buyer["name"],
        "buyerTelephone": buyer["phone"],
        "buyerIdType": buyer["id_type"],
        "buyerIdNumber": buyer["id_number"],
        "payCode": made["payment"]["enterprise_code"],
        "payTransactionId": made["payment"]["token"],
        "consignee": to["name"],
        "consigneeTelephone": to["phone"],
        "consigneeAddress": to["address"],
    }
    goods = {
        "gnum": "1",
        "itemNo": line["sku"],
        "itemName": line["name"],
        "gmodel": "fresh",
        "unit": "035",
        "qty": line["quantity"],
        "price": line["unit_price"],
        "itemDescribe": f"HS:{line['hs_code']};NET:{line['net_weight_kg']}",
        "totalPrice": line["total"],
        "currency": "142",
        "country": "502",
    }
    fields = (
        "".join(f"<{name}>{text}</{name}>" for name, text in part.items()) for part in (head, goods)
    )
    body = "<OrderHead>{}</OrderHead><OrderList>{}</OrderList>".format(*fields)
    return f'<CEB311Message xmlns="http://www.chinaport.gov.cn/ceb" guid="x" version="1.0"><Order>{body}</Order></CEB311Message>'.encode()
