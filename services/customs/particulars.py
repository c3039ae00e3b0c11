"""Personal data of an order, opened only to print a document."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shared.events import Fault
from shared.events.orders import OrderPlaced
from shared.events.persons import ConsigneeParticulars, Particulars
from shared.sealing import Unsealable, bound, unseal


class NotLodgeable(ValueError):
    """A declaration cannot be printed: a value without a code, an erased person, or a text too
    long.
    """

    def __init__(
        self,
        reason: str,
        *,
        field: str = "declaration_list",
        rule: str = "list_can_be_printed",
        expected: str = "a declarable list",
    ) -> None:
        super().__init__(reason)
        self.fault = Fault(field=field, rule=rule, found=reason, expected=expected)


def sealed_particulars(order: OrderPlaced) -> tuple[tuple[UUID, bytes, bytes], ...]:
    person = order.buyer.person_ref
    return (
        (person, order.buyer.sealed, bound(order.order_id, "buyer")),
        (person, order.consignee.sealed, bound(order.order_id, "consignee")),
    )


def open_particulars(
    order: OrderPlaced, keys: Mapping[UUID, AESGCM]
) -> tuple[Particulars, ConsigneeParticulars]:
    """Return buyer and consignee in clear. Raises NotLodgeable for an erased person.

    An erased person who orders again gets a new key; data sealed under the old key stays closed.
    """
    key = keys.get(order.buyer.person_ref)
    if key is None:
        raise NotLodgeable("the buyer's key was deleted, so the declaration cannot be printed")
    try:
        buyer, consignee = (
            unseal(key, value, bound_to) for _, value, bound_to in sealed_particulars(order)
        )
    except Unsealable:
        raise NotLodgeable(
            "the buyer's particulars were sealed under a key that was deleted since"
        ) from None
    return Particulars.model_validate_json(buyer), ConsigneeParticulars.model_validate_json(
        consignee
    )
