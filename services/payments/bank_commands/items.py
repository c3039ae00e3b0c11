"""Commands as items on the wire. A payer's particulars are opened here and nowhere else."""

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


def item_of(command: BankCommand, key: UUID, keys: Mapping[UUID, AESGCM]) -> Item | None:
    """Return the item on the wire; None if its payer can no longer be read."""
    item: dict[str, Any] = {"key": str(key), "reference": command.reference}
    match command:
        case Authorise():
            payer = _open(command, keys)
            if payer is None:
                return None
            sender = {"name": payer.name, "id_type": payer.id_type, "id_number": payer.id_number}
            item |= {
                "token": command.token,
                "payer": sender,
                "enterprise_code": command.enterprise_code,
            }
            return item | _money(command.amount)
        case Capture():
            return item | _money(command.amount) | {"authorisation_no": command.authorisation_no}
        case Refund() | RefundTax():
            return item | _money(command.amount) | {"payment_no": command.payment_no}
        case Transfer():
            return item | _money(command.amount) | {"payment_book": command.payment_book}
        case Void():
            return item | {"authorisation_no": command.authorisation_no}
    raise TypeError(f"{command.kind} is no command of the bank")


def sealed_in(command: Authorise) -> tuple[UUID, bytes, bytes]:
    return command.payer.person_ref, command.payer.sealed, bound(command.order_id, PAYER_FIELD)


def _money(amount: Money) -> dict[str, str]:
    return {"amount": str(amount), "currency": amount.currency}


def _open(command: Authorise, keys: Mapping[UUID, AESGCM]) -> Particulars | None:
    key = keys.get(command.payer.person_ref)
    if key is None:
        return None
    try:
        _, sealed, bound_to = sealed_in(command)
        opened = unseal(key, sealed, bound_to)
        return Particulars.model_validate_json(opened)
    except Unsealable:
        # The person was erased and came again under a new key, or the bytes were altered.
        log.error("a payer's particulars cannot be opened", order_id=str(command.order_id))
        return None
