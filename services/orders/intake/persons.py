"""Seal the persons of a submission: events carry a reference, digests and sealed bytes."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.orders.intake.submission import Buyer, Payer, Submission, Submitted
from shared.events.persons import ConsigneeParticulars, Particulars, SealedConsignee, SealedPerson
from shared.sealing import Sealing, bound, seal


def persons_of(submission: Submission, sealing: Sealing) -> tuple[UUID, UUID]:
    buyer, payer = submission.buyer, submission.payment.payer
    return (
        sealing.person_ref(buyer.id_type, buyer.id_number),
        sealing.person_ref(payer.id_type, payer.id_number),
    )


def seal_persons(
    submitted: Submitted, keys: Mapping[UUID, AESGCM], sealing: Sealing
) -> tuple[SealedPerson, SealedPerson, SealedConsignee]:
    """Return buyer, payer and consignee of a valid submission; `keys` has the keys of `persons_of`.

    The consignee has no identity document here. It is sealed under the buyer's key, because it came
    from the buyer and is erased with the buyer.
    """
    s, order_id = submitted.submission, submitted.order_id
    buyer_ref, payer_ref = persons_of(s, sealing)
    consignee = s.consignee
    inside = ConsigneeParticulars(
        name=consignee.name,
        phone=consignee.phone,
        address=consignee.address,
        postcode=consignee.postcode,
    )
    return (
        _person(s.buyer, buyer_ref, keys[buyer_ref], order_id, "buyer", sealing),
        _person(s.payment.payer, payer_ref, keys[payer_ref], order_id, "payer", sealing),
        SealedConsignee(
            person_ref=buyer_ref,
            sealed=seal(keys[buyer_ref], inside.to_json(), bound(order_id, "consignee")),
            country=consignee.country,
            region=consignee.region,
            city=consignee.city,
            name_digest=sealing.digest(consignee.name),
            phone_digest=sealing.digest(consignee.phone),
            address_digest=sealing.digest(consignee.address),
            address_digests=sealing.digests_of_address(
                consignee.region, consignee.city, consignee.address
            ),
            name_length=len(consignee.name),
            phone_length=len(consignee.phone),
            address_length=len(consignee.address),
        ),
    )


def _person(
    person: Payer, ref: UUID, key: AESGCM, order_id: UUID, role: str, sealing: Sealing
) -> SealedPerson:
    phone = person.phone if isinstance(person, Buyer) else None
    inside = Particulars(
        name=person.name, id_type=person.id_type, id_number=person.id_number, phone=phone
    )
    return SealedPerson(
        person_ref=ref,
        sealed=seal(key, inside.to_json(), bound(order_id, role)),
        id_type=person.id_type,
        name_digest=sealing.digest(person.name),
        id_digest=sealing.digest(person.id_number),
        phone_digest=sealing.digest(phone) if phone else None,
        name_length=len(person.name),
        id_length=len(person.id_number),
    )
