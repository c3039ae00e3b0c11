"""The e-port's checks of a whole message: form, repetition, the words that refuse it, and the
signature.
"""

from __future__ import annotations

from typing import Final

import structlog

from sandbox.authority.document_match import Refusal
from sandbox.authority.messages import CustomsMessage, Document, UnreadableMessage, read_message
from sandbox.authority.policy import message_refusal, pre_no
from sandbox.authority.receipts import format_fault, receipt_of
from sandbox.authority.register import Register
from sandbox.authority.session import Session
from sandbox.authority.signature import Declarants, SignatureFault

_log = structlog.get_logger()
_REFUSED_WHOLE: Final = -2


class Intake:
    """Admission of messages; every method runs inside the caller's transaction."""

    def __init__(self, register: Register, declarants: Declarants) -> None:
        self._register = register
        self._declarants = declarants

    def admit(self, session: Session, value: bytes) -> CustomsMessage | None:
        """Return a message that is well formed, new and signed.

        Otherwise None, and the session has the refusals.
        """
        try:
            message = read_message(value)
        except UnreadableMessage as fault:
            text = f"[Code:{fault.code};Desc:{fault.text}]"
            receipt = format_fault(
                fault.guid, fault.message_type, -int(fault.code), text, session.now
            )
            session.receipts.append(receipt)
            return None
        if not self._register.is_new_message(message.guid, message.message_type):
            session.tally[message.kind, "seen"] += 1
            return None
        if refusal := message_refusal(message.documents):
            receipt = format_fault(
                message.guid, message.message_type, _REFUSED_WHOLE, refusal, session.now
            )
            session.receipts.append(receipt)
            session.tally[message.kind, "refused whole"] += 1
            return None
        return message if self._is_signed(session, message) else None

    def _is_signed(self, session: Session, message: CustomsMessage) -> bool:
        try:
            self._declarants.check(message.root)
        except SignatureFault as fault:
            _log.warning("signature refused", message=message.guid, fault=str(fault))
            status = _signature_status(message, fault)
            refusal = Refusal(status, f"[Code:{status};Desc:数字签名验证失败:{fault}]")
            for document in message.documents:
                self.refuse(session, document, refusal)
            return False
        return True

    def refuse(self, session: Session, document: Document, refusal: Refusal) -> None:
        fields = {**document.head, "copNo": document.cop_no}
        if not fields.get("preNo"):
            fields["preNo"] = pre_no("B", self._register.serials(1), session.now)
        session.receipts.append(
            receipt_of(
                document.kind,
                document.family,
                document.message_guid,
                fields,
                refusal.status,
                refusal.text,
                session.now,
            )
        )
        session.tally[document.kind, "refused"] += 1


def _signature_status(message: CustomsMessage, fault: SignatureFault) -> int:
    if message.family != "621":
        return -601001
    return -621028 if fault.differs else -621029
