"""A person as events carry one: a reference, sealed particulars, and digests to compare without opening them."""

from __future__ import annotations

from uuid import UUID

from shared.events.base import Fact


class SealedPerson(Fact):
    """A buyer or payer: `person_ref` is a keyed hash of the identity document; `sealed` is AES-GCM under that person's
    own key, bound to the order and the role, and opens to `Particulars`.

    Digests are keyed hashes of the normalised text, 32 hex characters, so that documents can be matched unopened. Lengths are
    in characters, to be told where documents disagree.
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
    """Who receives the parcel: the place in clear down to the city, the rest sealed under the buyer's key.

    `address_digests` are of all the ways to write the address (`shared.texts.address_forms`).
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
    """What `SealedPerson.sealed` opens to."""

    name: str
    id_type: str
    id_number: str
    phone: str | None = None


class ConsigneeParticulars(Fact):
    """What `SealedConsignee.sealed` opens to."""

    name: str
    phone: str
    address: str
    postcode: str | None = None
