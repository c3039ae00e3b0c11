"""Tells whether a submission that comes again is the same one, and if not, which field differs."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Final

from services.orders.intake.submission import Consignee, Goods, Payer, Submission, Submitted

PERSONAL: Final = frozenset({"buyer", "consignee", "payment"})
"""Fields with personal values: their digest must be keyed, or it could be guessed back."""

DIGEST_CHARACTERS: Final = 16

VERSION: Final = 2
"""How prints are made today. An order is compared by the version it was kept with, so that old ones keep their repetitions:
in 1 the parts of a personal field ran into one another, and case and width of letters did not count."""
_MARK: Final = "v"


def fingerprint(
    submitted: Submitted, digest: Callable[[str], str], version: int = VERSION
) -> dict[str, str]:
    """A digest of each top-level field in its canonical form (`172.0` is `172.00`), personal ones by the keyed `digest`.

    What came in a broken shape counts as it came, so that a refused submission repeated is the same one too.
    `digest` hashes the text to the letter.
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


def version_of(known: Mapping[str, str]) -> int:
    """The version that a submission must be printed with to be compared with `known`; today's if nothing is known."""
    return int(known.get(_MARK, 1)) if known else VERSION


def differing(known: Mapping[str, str], came: Mapping[str, str]) -> tuple[str, ...]:
    """The fields that differ, in the order of the submission's own fields."""
    return tuple(field for field in FIELDS if known.get(field) != came.get(field))


def verdict_of(different: tuple[str, ...]) -> str:
    """`exists`, or `exists_with_different_<field>` of the first field that differs."""
    return f"exists_with_different_{different[0]}" if different else "exists"


FIELDS: Final = tuple(name for name in Submission.model_fields if name != "order_no")


Parts = tuple[str | None, ...]


def _separated(s: Submission) -> dict[str, str]:
    """Each field as version 1 had it."""
    lines = "\x1e".join("\x1f".join(part or "" for part in _line(line)) for line in s.lines)
    return {
        field: "\x1f".join(part or "" for part in parts) for field, parts in _canonical(s).items()
    } | {"lines": lines}


def _counted(s: Submission) -> dict[str, str]:
    return {field: counted(parts) for field, parts in _canonical(s).items()} | {
        "lines": counted([counted(_line(line)) for line in s.lines])
    }


def counted(parts: Iterable[str | None]) -> str:
    """The parts as one text that no other parts have: each after its length, one that is not there as `-`."""
    return "".join(["-" if part is None else f"{len(part)}:{part}" for part in parts])


def _canonical(s: Submission) -> dict[str, Parts]:
    """The parts of each field but the lines."""
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
