"""Which outside party wrote a record: Kafka does not tell, so a party with a key signs records."""

from __future__ import annotations

import base64
import binascii
import hashlib
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from shared.database import Connection
from shared.envelope import Headers, Message, Record, first_headers
from shared.errors import Misconfigured, Unprocessable
from shared.identity import event_id_of, record_id_of

SIGNATURE_HEADER: Final = "party_signature"
"""Base64 of an Ed25519 signature (RFC 8032) over `ce_type`, a line feed and the value.

The header comes once for each party that signs.
"""
SIGNATURES_MAX: Final = 4
KEY_BYTES: Final = 32
REFRESH_S: Final = 1.0
_NIL: Final = UUID(int=0)


def signed_bytes(event_type: bytes, value: bytes) -> bytes:
    """Return the bytes that a party signs: the event type, a line feed and the value.

    The type is signed so that nobody turns a return into a cancellation. The value names party and
    order.
    """
    return event_type + b"\n" + value


def sign(key: Ed25519PrivateKey, event_type: bytes, value: bytes) -> tuple[str, bytes]:
    """Return the header that a party adds to its record."""
    return SIGNATURE_HEADER, base64.b64encode(key.sign(signed_bytes(event_type, value)))


def signed_headers(key: Ed25519PrivateKey | None, headers: Headers, value: bytes) -> Headers:
    """Return the headers with the party's signature.

    They stay as they are without a key, or if the record is already signed.
    """
    if key is None:
        return headers
    found = first_headers(headers)
    if SIGNATURE_HEADER in found:
        return headers
    return (*headers, sign(key, found.get("ce_type", b""), value))


def key_of(pem: bytes) -> Ed25519PrivateKey:
    """Return the private key of a PEM text. Raises Misconfigured, which does not show it."""
    try:
        found: Any = load_pem_private_key(pem, None)
    except (ValueError, TypeError):
        found = None
    if not isinstance(found, Ed25519PrivateKey):
        raise Misconfigured(
            "set CROSSBORDER_PARTY_KEY_FILE to a private Ed25519 key as PEM, without a pass phrase"
        )
    return found


def once(record: Record, messages: Sequence[Message], *, for_good: bool) -> list[Message]:
    """Give the messages of a signed record ids made from the signed bytes.

    Whoever sends the record again then sends repetitions.
    """
    signed = signed_bytes(first_headers(record.headers).get("ce_type", b""), record.value or b"")
    first = event_id_of(
        record_id_of(record.topic, 0, 0), f"signed|{hashlib.sha256(signed).hexdigest()}", _NIL
    )
    # Use a message's number in the record, if it has one: an unreadable entry then moves no other
    # id.
    places = [(m.entry - 1 if m.entry else i, m) for i, m in enumerate(messages)]
    return [
        m._replace(event_id=event_id_of(first, str(place), m.order_id), once=for_good)
        for place, m in places
    ]


class Parties:
    """The keys of the bound parties, read from the database again about once a second.

    A record that speaks for a bound party counts only with its signature. A platform or carrier
    with a key is bound. Without a key it is trusted, if the broker does not tell its users apart.
    If the broker does, every party is bound (`all_bound`), and one without a key can say nothing.
    """

    def __init__(self, *, all_bound: bool = False) -> None:
        self._all_bound = all_bound
        self._keys: Mapping[str, tuple[Ed25519PublicKey, ...]] = {}
        self._read_at = float("-inf")

    async def refresh(self, pool: Any) -> None:
        """Read the keys if the last reading is a second old."""
        if time.monotonic() - self._read_at < REFRESH_S:
            return
        async with pool.acquire() as conn:
            await self.load(conn)

    async def load(self, conn: Connection) -> None:
        """Read the keys now.

        A party without any valid key stays bound: nobody speaks for it until it has a new key.
        """
        rows = await conn.fetch(
            "SELECT code, public_key, removed_at IS NULL AS valid FROM party_key "
            "ORDER BY code, added_at"
        )
        found: dict[str, tuple[Ed25519PublicKey, ...]] = {}
        for row in rows:
            valid = (Ed25519PublicKey.from_public_bytes(row["public_key"]),) if row["valid"] else ()
            found[row["code"]] = (*found.get(row["code"], ()), *valid)
        self._keys = found
        self._read_at = time.monotonic()

    def require(self, record: Record, codes: Collection[str]) -> bool:
        """Raise Unprocessable, reason `signature`, if a bound party of the record did not sign it.

        Return whether the record speaks for a bound party. Such a record counts only as what was
        signed.
        """
        if not self._keys and not self._all_bound:
            return False
        bound = False
        for code in sorted(codes):
            keys = self._keys.get(code)
            if keys is None and not self._all_bound:
                continue
            bound = True
            if not keys:
                raise Unprocessable(
                    "signature",
                    f"give {code[:32]} a key with `crossborder access party add`: it has none that "
                    "counts",
                )
            if not _is_signed(record, keys):
                raise Unprocessable(
                    "signature",
                    f"sign the record with the key of {code[:32]}: the header {SIGNATURE_HEADER} "
                    "must have its Ed25519 signature over ce_type, a line feed and the value",
                )
        return bound


def _is_signed(record: Record, keys: Iterable[Ed25519PublicKey]) -> bool:
    event_type = first_headers(record.headers).get("ce_type", b"")
    signed = signed_bytes(event_type, record.value or b"")
    for signature in _signatures(record):
        for key in keys:
            try:
                key.verify(signature, signed)
            except InvalidSignature:
                continue
            return True
    return False


def _signatures(record: Record) -> list[bytes]:
    given = [value for name, value in record.headers if name == SIGNATURE_HEADER][:SIGNATURES_MAX]
    found = []
    for value in given:
        try:
            found.append(base64.b64decode(value or b"", validate=True))
        except binascii.Error:
            continue
    return found
