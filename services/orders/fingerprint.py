"""Tells whether a submission that comes again is the same one, and if not, which field differs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Final

from services.orders.submission import Consignee, Goods, Payer, Submission, Submitted

PERSONAL: Final = frozenset({"buyer", "consignee", "payment"})
"""Fields with personal values: their digest must be keyed, or it could be guessed back."""

DIGEST_CHARACTERS: Final = 16


def fingerprint(submitted: Submitted, digest: Callable[[str], str]) -> dict[str, str]:
    """A digest of each top-level field in its canonical form (`172.0` is `172.00`), personal ones by the keyed `digest`.

    What came in a broken shape counts as it came, so that a refused submission repeated is the same one too.
    """
    texts = _canonical(submitted.submission) | {field: f"raw:{value}" for field, value in submitted.raw}
    return {field: _short(digest(text) if field in PERSONAL else _plain(text)) for field, text in texts.items()}


def differing(known: Mapping[str, str], came: Mapping[str, str]) -> tuple[str, ...]:
    """The fields that differ, in the order of the submission's own fields."""
    return tuple(field for field in FIELDS if known.get(field) != came.get(field))


def verdict_of(different: tuple[str, ...]) -> str:
    """`exists`, or `exists_with_different_<field>` of the first field that differs."""
    return f"exists_with_different_{different[0]}" if different else "exists"


FIELDS: Final = tuple(name for name in Submission.model_fields if name != "order_no")


def _canonical(s: Submission) -> dict[str, str]:
    return {
        "placed_at": str(s.placed_at.timestamp()),
        "direction": s.direction,
        "mode": s.mode,
        "platform": s.platform.name,
        "merchant": _joined(s.merchant.code, s.merchant.name, s.merchant.country),
        "buyer": _joined(*_person(s.buyer), s.buyer.phone),
        "consignee": _joined(*_consignee(s.consignee)),
        "payment": _joined(s.payment.enterprise_code, s.payment.token, *_person(s.payment.payer)),
        "currency": s.currency,
        "lines": "\x1e".join(_line(line) for line in s.lines),
        "goods_value": _number(s.goods_value),
        "freight": _number(s.freight),
        "insurance": _number(s.insurance),
        "discount": _number(s.discount),
        "tax_withheld": _number(s.tax_withheld),
        "amount_paid": _number(s.amount_paid),
        "logistics_no": s.logistics_no or "",
    }


def _person(person: Payer) -> tuple[str, ...]:
    return person.name, person.id_type, person.id_number


def _consignee(c: Consignee) -> tuple[str | None, ...]:
    return c.name, c.phone, c.country, c.region, c.city, c.address, c.postcode


def _line(line: Goods) -> str:
    content = line.net_content
    return _joined(
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


def _joined(*parts: str | None) -> str:
    return "\x1f".join(part or "" for part in parts)


def _plain(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _short(digest: str) -> str:
    return digest[:DIGEST_CHARACTERS]
