"""Who wrote a record: a bound party's signature, and nobody else's."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shared.envelope import Record
from shared.errors import Unprocessable
from shared.parties import SIGNATURE_HEADER, SIGNATURES_MAX, Parties, sign

MINE, OTHER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
CANCEL = b"order.cancel-requested.v1"
VALUE = b'{"platform": {"code": "1105910159"}}'


class Rows:
    """A database with these keys."""

    def __init__(self, *rows: tuple[str, Ed25519PrivateKey, bool]) -> None:
        self._rows = [{"code": c, "public_key": key.public_key().public_bytes_raw(), "valid": valid} for c, key, valid in rows]

    async def fetch(self, _sql: str) -> list[Any]:
        return self._rows


async def parties(*rows: tuple[str, Ed25519PrivateKey, bool], all_bound: bool = False) -> Parties:
    made = Parties(all_bound=all_bound)
    await made.load(Rows(*rows))
    return made


def record(*headers: tuple[str, bytes], value: bytes = VALUE, kind: bytes = CANCEL) -> Record:
    return Record("orders.submissions", 0, 0, 0, None, value, (("ce_type", kind), *headers))


async def test_only_the_key_of_the_party_signs_for_it() -> None:
    known = await parties(("A", MINE, True), ("B", OTHER, True))
    known.require(record(sign(MINE, CANCEL, VALUE)), {"A"})
    known.require(record(), {"C"})
    with pytest.raises(Unprocessable, match="sign the record with the key of A"):
        known.require(record(sign(OTHER, CANCEL, VALUE)), {"A"})
    with pytest.raises(Unprocessable, match="sign the record with the key of B"):
        known.require(record(sign(MINE, CANCEL, VALUE)), {"A", "B"})
    known.require(record(sign(MINE, CANCEL, VALUE), sign(OTHER, CANCEL, VALUE)), {"A", "B"})


@pytest.mark.parametrize("found", [
    record(), record(sign(MINE, b"return.requested.v1", VALUE)), record(sign(MINE, CANCEL, VALUE), value=VALUE + b" "),
    record(sign(MINE, CANCEL, VALUE), kind=b"return.requested.v1"), record((SIGNATURE_HEADER, b"")),
    record((SIGNATURE_HEADER, b"not base64!")), record((SIGNATURE_HEADER, base64.b64encode(b"x" * 64))),
    record((SIGNATURE_HEADER, base64.b64encode(b"short"))), record((SIGNATURE_HEADER, "é".encode())),
    record(*[(SIGNATURE_HEADER, b"AAAA")] * SIGNATURES_MAX, sign(MINE, CANCEL, VALUE)),
])  # fmt: skip
async def test_a_signature_of_something_else_is_none(found: Record) -> None:
    known = await parties(("A", MINE, True))
    with pytest.raises(Unprocessable) as refused:
        known.require(found, {"A"})
    assert refused.value.reason == "signature"


async def test_a_party_changes_keys_without_a_pause_and_is_never_unbound() -> None:
    both = await parties(("A", MINE, True), ("A", OTHER, True))
    for key in (MINE, OTHER):
        both.require(record(sign(key, CANCEL, VALUE)), {"A"})
    changed = await parties(("A", MINE, False), ("A", OTHER, True))
    changed.require(record(sign(OTHER, CANCEL, VALUE)), {"A"})
    with pytest.raises(Unprocessable):
        changed.require(record(sign(MINE, CANCEL, VALUE)), {"A"})
    gone = await parties(("A", MINE, False))
    with pytest.raises(Unprocessable, match="give A a key"):
        gone.require(record(sign(MINE, CANCEL, VALUE)), {"A"})


async def test_where_all_are_bound_a_stranger_says_nothing() -> None:
    known = await parties(("A", MINE, True), all_bound=True)
    with pytest.raises(Unprocessable, match="give C a key"):
        known.require(record(), {"C"})
    known.require(record(), set())
