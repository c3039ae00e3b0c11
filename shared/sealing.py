"""Seals personal data under the person's key: without it log, tables and backups are unreadable."""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Final, Self
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shared.errors import Misconfigured
from shared.identity import uuid_of_bytes
from shared.texts import address_forms, normal, normal_before

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
CACHE_PERSONS_MAX: Final = 2_000
CACHE_S: Final = 45.0
"""Seconds for which a key is used without another look into the vault.

A transaction that uses the key last may take 15 s more. So a person whose key was deleted is
unreadable everywhere within a minute.
"""
MASTER_KEYS: Final = ("wrapping", "reference", "digest", "resting")


class PersonErased(Exception):
    """The person's key was deleted, so nobody can read the person's data any more."""


class Unsealable(ValueError):
    """This key does not open the bytes: another key, altered bytes, or another order or field."""


class Sealing:
    """Seals, opens and compares personal data.

    Each of the four master keys has 32 bytes and a file of its own. `wrapping` encrypts the keys of
    persons. `reference` makes person references. `digest` makes digests to compare. `resting` seals
    records that wait in a table. `clock` returns seconds that never go back.
    """

    def __init__(
        self, master: Mapping[str, bytes], clock: Callable[[], float] = time.monotonic
    ) -> None:
        missing = [name for name in MASTER_KEYS if len(master.get(name, b"")) != KEY_BYTES]
        if missing:
            raise Misconfigured(
                f"make the keys with `crossborder keys`: {', '.join(missing)} must be {KEY_BYTES} "
                "bytes long"
            )
        self._wrapping = AESGCM(master["wrapping"])
        self._resting = AESGCM(master["resting"])
        self._reference = master["reference"]
        self._hasher = hashlib.blake2b(key=master["digest"], digest_size=16)
        self._clock = clock
        self._cache: OrderedDict[UUID, tuple[float, AESGCM]] = OrderedDict()

    @classmethod
    def from_dir(cls, keys: Path) -> Self:
        """Read the master keys in the folder `keys`. Raises Misconfigured if one is missing."""
        try:
            return cls({name: (keys / f"{name}.key").read_bytes() for name in MASTER_KEYS})
        except OSError as error:
            raise Misconfigured(
                f"make the keys with `crossborder keys`: {error.filename} cannot be read"
            ) from None

    def person_ref(self, id_type: str, id_number: str) -> UUID:
        """Return a keyed hash of the identity document.

        The same document always has the same reference.
        """
        text = f"{id_type}|{id_number.strip().upper()}".encode()
        return uuid_of_bytes(hashlib.blake2b(text, key=self._reference, digest_size=16).digest())

    def digest(self, text: str) -> str:
        """Return a keyed hash of the normalised text, to compare without opening.

        The hash is BLAKE2b (RFC 7693), 32 hex characters.
        """
        return self.digest_exact(normal(text))

    def digest_before(self, text: str) -> str:
        """Return the `digest` that release 0.1.0 made."""
        return self.digest_exact(normal_before(text))

    def digests_of_address(
        self, region: str | None, city: str | None, address: str
    ) -> tuple[str, ...]:
        """Return a digest of each way to write the address, 16 hex characters.

        Two addresses are the same if they share a digest.
        """
        return tuple(self.digest_exact(form)[:16] for form in address_forms(region, city, address))

    def digest_exact(self, text: str) -> str:
        """Return a keyed hash of the exact text, 32 hex characters: case and blanks count."""
        found = self._hasher.copy()
        found.update(text.encode())
        return found.hexdigest()

    async def keys_of(
        self, conn: Any, persons: Collection[UUID], *, make: bool = False
    ) -> dict[UUID, AESGCM]:
        """Return the keys of `persons`, read in bulk, and with `make` created in bulk.

        A person erased more than CACHE_S seconds ago is missing. A person erased since then may
        still be present.
        """
        now = self._clock()
        # A cached key may be deleted by now, and nobody could ever open what it seals.
        remembered = {} if make else self._cache
        keys = {
            p: kept[1]
            for p in persons
            if (kept := remembered.get(p)) is not None and now - kept[0] < CACHE_S
        }
        wanted = sorted(set(persons) - keys.keys())
        if not wanted:
            return keys
        if make:
            # Sorted: two replicas that meet the same persons wait for each other and never
            # deadlock.
            await conn.execute(
                "INSERT INTO vault.person_key (person_ref, wrapped_key) SELECT * FROM "
                "unnest($1::uuid[], $2::bytea[]) "
                "ON CONFLICT (person_ref) DO NOTHING",
                wanted,
                [self._wrap(person, secrets.token_bytes(KEY_BYTES)) for person in wanted],
            )
        rows = await conn.fetch(
            "SELECT person_ref, wrapped_key FROM vault.person_key "
            "WHERE person_ref = ANY($1::uuid[])",
            wanted,
        )
        read = {
            row["person_ref"]: AESGCM(self._unwrap(row["person_ref"], row["wrapped_key"]))
            for row in rows
        }
        if not make:
            self._remember(read, wanted, now)
        return keys | read

    async def keys_for(
        self, conn: Any, sealed: Collection[tuple[UUID, bytes, bytes]]
    ) -> dict[UUID, AESGCM]:
        """Return the keys to open `sealed`: each a person, sealed bytes, and their binding.

        A cached key that does not open its bytes is read again: the person was erased and has
        returned under another key.
        """
        cached = {person for person, _, _ in sealed} & self._cache.keys()
        keys = await self.keys_of(conn, {person for person, _, _ in sealed})
        stale = {
            person
            for person, value, bound_to in sealed
            if person in cached and person in keys and not _opens(keys[person], value, bound_to)
        }
        if not stale:
            return keys
        for person in stale:
            self.forget(person)
        return {p: key for p, key in keys.items() if p not in stale} | await self.keys_of(
            conn, stale
        )

    def _remember(self, read: Mapping[UUID, AESGCM], wanted: Collection[UUID], now: float) -> None:
        # Cache only keys read from committed rows: a key made in a transaction that fails must not
        # survive. A key is as old as the moment before it was read. The oldest keys stand first:
        # removal starts there.
        for person in wanted:
            self._cache.pop(person, None)
        self._cache.update((person, (now, key)) for person, key in read.items())
        while self._cache and (
            len(self._cache) > CACHE_PERSONS_MAX
            or now - next(iter(self._cache.values()))[0] >= CACHE_S
        ):
            self._cache.popitem(last=False)

    def forget(self, person: UUID) -> None:
        """Drop a cached key: its row was deleted, or it did not open its bytes."""
        self._cache.pop(person, None)

    def _wrap(self, person: UUID, key: bytes) -> bytes:
        return seal(self._wrapping, key, person.bytes)

    def _unwrap(self, person: UUID, wrapped: bytes) -> bytes:
        return unseal(self._wrapping, wrapped, person.bytes)

    def encrypt(self, value: bytes, bound_to: bytes) -> bytes:
        """Seal a whole record that waits in a table."""
        return seal(self._resting, value, bound_to)

    def decrypt(self, value: bytes, bound_to: bytes) -> bytes:
        """Open a record sealed by `encrypt`. Raises Unsealable."""
        return unseal(self._resting, value, bound_to)


def bound(order_id: UUID, field: str) -> bytes:
    """Return the binding of a sealed field: it opens only in this field of this order."""
    return order_id.bytes + field.encode()


def seal(key: AESGCM, value: bytes, bound_to: bytes) -> bytes:
    """Return a nonce of 12 bytes and the AES-GCM ciphertext."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + key.encrypt(nonce, value, bound_to)


def unseal(key: AESGCM, value: bytes, bound_to: bytes) -> bytes:
    """Return the clear bytes.

    Raises Unsealable if the bytes were altered or belong to another key, order or field.
    """
    try:
        return key.decrypt(value[:NONCE_BYTES], value[NONCE_BYTES:], bound_to)
    except (InvalidTag, ValueError):
        raise Unsealable("sealed value was altered or belongs to another order or field") from None


def _opens(key: AESGCM, value: bytes, bound_to: bytes) -> bool:
    try:
        unseal(key, value, bound_to)
    except Unsealable:
        return False
    return True


def ensure_master_keys(keys: Path) -> list[str]:
    """Make the missing master keys in the folder, as files of mode 0600. Return their names."""
    keys.mkdir(parents=True, exist_ok=True, mode=0o700)
    made = []
    for name in MASTER_KEYS:
        try:
            handle = os.open(keys / f"{name}.key", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            continue
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
        made.append(name)
    return made
