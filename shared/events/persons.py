"""Persons in events: a reference, sealed personal data, and digests to compare without opening."""

from __future__ import annotations

from uuid import UUID

from shared.events.base import Fact


class SealedPerson(Fact):
    """A buyer or payer.

    `person_ref` is a keyed hash of the identity document. `sealed` opens to `Particulars`. It is
    AES-GCM under the person's own key, bound to the order and the role. Digests are keyed hashes of
    the normalised text, 32 hex characters, so that documents match unopened. Lengths are in
    characters, to be shown if documents disagree.
    """

    person_ref: UUID
    sealed: bytes
    id_type: str
    name_digest: str
    id_digest: str
    phone_digest: str | None = None
    name_length: int | None = None
    id_length: int | None = None


class SealedConsignee(Fact):
    """The receiver of the parcel.

    The place is in clear down to the city. The rest is sealed under the buyer's key.
    `address_digests` cover all ways to write the address (`shared.texts.address_forms`).
    """

    person_ref: UUID
    sealed: bytes
    country: str
    region: str | None = None
    city: str | None = None
    name_digest: str
    phone_digest: str
    address_digest: str
    address_digests: tuple[str, ...] = ()
    name_length: int | None = None
    phone_length: int | None = None
    address_length: int | None = None


class Particulars(Fact):
    """The content of `SealedPerson.sealed`."""

    name: str
    id_type: str
    id_number: str
    phone: str | None = None


class ConsigneeParticulars(Fact):
    """The content of `SealedConsignee.sealed`."""

    name: str
    phone: str
    address: str
    postcode: str | None = None
