"""Digests of a submission's fields: they show whether a repeated submission is the same one."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Final

from services.orders.intake.submission import Consignee, Goods, Payer, Submission, Submitted

PERSONAL: Final = frozenset({"buyer", "consignee", "payment"})
"""Fields with personal values. Their digest is keyed; otherwise the value could be guessed."""

DIGEST_CHARACTERS: Final = 16

VERSION: Final = 2
"""The version of new fingerprints. An order is compared in the version it was stored with.

Version 1 did not separate the parts of a personal field, and ignored case and width of letters."""
_MARK: Final = "v"


def fingerprint(
    submitted: Submitted, digest: Callable[[str], str], version: int = VERSION
) -> dict[str, str]:
    """Return a digest of each top-level field in canonical form: `172.0` equals `172.00`.

    Personal fields use the keyed `digest`. A field of broken shape is taken as sent, so that a
    repeated invalid submission is recognised too.
    """
    s = submitted.submission
    texts = _separated(s) if version == 1 else _counted(s)
    texts |= {field: f"raw:{value}" for field, value in submitted.raw}
    personal = (lambda text: digest(_normal_of_version_1(text))) if version == 1 else digest
    marked = {} if version == 1 else {_MARK: str(version)}
    return marked | {
        field: _short(personal(text) if field in PERSONAL else _plain(text))
        for field, text in texts.items()
    }


def _normal_of_version_1(text: str) -> str:
    return " ".join(
        (text if text.isascii() else unicodedata.normalize("NFKC", text)).split()
    ).casefold()


def version_of(stored: Mapping[str, str]) -> int:
    return int(stored.get(_MARK, 1)) if stored else VERSION


def differing(stored: Mapping[str, str], repeated: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(field for field in FIELDS if stored.get(field) != repeated.get(field))


def verdict_of(different: tuple[str, ...]) -> str:
    return f"exists_with_different_{different[0]}" if different else "exists"


FIELDS: Final = tuple(name for name in Submission.model_fields if name != "order_no")


Parts = tuple[str | None, ...]


def _separated(s: Submission) -> dict[str, str]:
    lines = "\x1e".join("\x1f".join(part or "" for part in _line(line)) for line in s.lines)
    return {
        field: "\x1f".join(part or "" for part in parts) for field, parts in _canonical(s).items()
    } | {"lines": lines}


def _counted(s: Submission) -> dict[str, str]:
    return {field: counted(parts) for field, parts in _canonical(s).items()} | {
        "lines": counted([counted(_line(line)) for line in s.lines])
    }


def counted(parts: Iterable[str | None]) -> str:
    """Return the parts as one unambiguous text: each after its length, a missing one as `-`."""
    return "".join(["-" if part is None else f"{len(part)}:{part}" for part in parts])


def _canonical(s: Submission) -> dict[str, Parts]:
    return {
        "placed_at": (str(s.placed_at.timestamp()),),
        "direction": (s.direction,),
        "mode": (s.mode,),
        "platform": (s.platform.name,),
        "merchant": (s.merchant.code, s.merchant.name, s.merchant.country),
        "buyer": (*_person(s.buyer), s.buyer.phone),
        "consignee": _consignee(s.consignee),
        "payment": (s.payment.enterprise_code, s.payment.token, *_person(s.payment.payer)),
        "currency": (s.currency,),
        "goods_value": (_number(s.goods_value),),
        "freight": (_number(s.freight),),
        "insurance": (_number(s.insurance),),
        "discount": (_number(s.discount),),
        "tax_withheld": (_number(s.tax_withheld),),
        "amount_paid": (_number(s.amount_paid),),
        "logistics_no": (s.logistics_no,),
    }


def _person(person: Payer) -> tuple[str, ...]:
    return person.name, person.id_type, person.id_number


def _consignee(c: Consignee) -> Parts:
    return c.name, c.phone, c.country, c.region, c.city, c.address, c.postcode


def _line(line: Goods) -> Parts:
    content = line.net_content
    return (
        str(line.line_no),
        line.sku,
        line.name,
        line.hs_code,
        line.origin,
        line.brand,
        line.gtin,
        _number(line.quantity),
        line.unit,
        _number(line.net_weight_kg),
        f"{_number(content.value)} {content.unit}" if content else None,
        _number(line.unit_price),
        _number(line.total),
    )


def _number(value: Decimal) -> str:
    return str(value.normalize())


def _plain(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _short(digest: str) -> str:
    return digest[:DIGEST_CHARACTERS]
