"""An instruction as the item that is sent to the bank; a payer's particulars are opened for it and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

import structlog
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.payments.domain.bank import (
    Authorise,
    BankCommand,
    Capture,
    Refund,
    RefundTax,
    Transfer,
    Void,
)
from services.payments.gateway import Item
from shared.events.persons import Particulars
from shared.money import Money
from shared.sealing import Unsealable, bound, unseal

log = structlog.get_logger(__name__)

PAYER_FIELD: Final = "payer"


def item_of(ask: BankCommand, key: UUID, keys: Mapping[UUID, AESGCM]) -> Item | None:
    """The item on the wire; None if its payer can no longer be read."""
    item: dict[str, Any] = {"key": str(key), "reference": ask.reference}
    match ask:
        case Authorise():
            payer = _open(ask, keys)
            if payer is None:
                return None
            who = {"name": payer.name, "id_type": payer.id_type, "id_number": payer.id_number}
            item |= {"token": ask.token, "payer": who, "enterprise_code": ask.enterprise_code}
            return item | _money(ask.amount)
        case Capture():
            return item | _money(ask.amount) | {"authorisation_no": ask.authorisation_no}
        case Refund() | RefundTax():
            return item | _money(ask.amount) | {"payment_no": ask.payment_no}
        case Transfer():
            return item | _money(ask.amount) | {"payment_book": ask.payment_book}
        case Void():
            return item | {"authorisation_no": ask.authorisation_no}
    raise TypeError(f"{ask.kind} cannot be asked of the bank")


def sealed_in(ask: Authorise) -> tuple[UUID, bytes, bytes]:
    """What is opened of an instruction: the person, the sealed bytes, and what they are bound to."""
    return ask.payer.person_ref, ask.payer.sealed, bound(ask.order_id, PAYER_FIELD)


def _money(amount: Money) -> dict[str, str]:
    return {"amount": str(amount), "currency": amount.currency}


def _open(ask: Authorise, keys: Mapping[UUID, AESGCM]) -> Particulars | None:
    key = keys.get(ask.payer.person_ref)
    if key is None:
        return None
    try:
        _, sealed, bound_to = sealed_in(ask)
        opened = unseal(key, sealed, bound_to)
        return Particulars.model_validate_json(opened)
    except Unsealable:
        # Erased and come again under a new key, or altered: either way nobody can read it.
        log.error("a payer's particulars cannot be opened", order_id=str(ask.order_id))
        return None
