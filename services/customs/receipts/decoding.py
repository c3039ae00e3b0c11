"""DOC."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import NAMESPACE_URL, UUID

from services.customs.ceb import codes
from services.customs.ceb.parse import read_entries
from services.customs.ceb.receipts import Receipt
from services.customs.domain.declaration import AuthorityReply, Remedy, RequestKind
from services.customs.domain.numbers import first_and_attempt
from shared.decoding import PartlyReadable, UnreadableEntry, message
from shared.envelope import Message, Record
from shared.identity import uuid5

ANSWERS: Final[Mapping[str, RequestKind]] = {
    "CEB622": "declare", "CEB604": "declare", "CEB624": "cancel", "CEB606": "cancel", "CEB626": "return", "CEB214": "return",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ListReceipt:
    """One entry of a receipt message, in the words of the domain; `cop_no` is the number of the order's first list."""

    message_type: str
    cop_no: str | None
    answer: AuthorityReply
    message_guid: str | None = None
    """Set where a whole message of ours is answered (900: it failed the format check), and no list is named."""
    statistics_flag: str | None = None
    """Of an export list, as the authority repeats it: B is to be consolidated."""
    text: str = field(default="", repr=False)
    """Of a 900, as it came: it may name the document that is wrong, and a person. It is looked into and not kept."""


def decode_receipts(record: Record) -> Sequence[Message]:
    """One message per entry of the receipt, and which entries cannot be read; raises Unprocessable for what is no receipt.

    Its bytes are its id, for it has a guid and a time of its own. In other bytes the authority may say the same again, long
    after: which list it is about is told by the number, and a list that was corrected since is returned no more.
    """
    answer = read_entries(record.value or b"")
    if answer.unreadable and not answer.told and len(answer.unreadable) == 1:
        raise answer.unreadable[0][1]
    digest = hashlib.sha256(record.value or b"").hexdigest()
    found = []
    for number, told in answer.told:
        entry = _list_receipt(told) if isinstance(told, Receipt) else told
        event_id = uuid5(NAMESPACE_URL, f"receipt:{digest}:{number - 1}")
        found.append(
            message(
                record,
                event_id,
                f"{told.message_type}.{told.status}",
                UUID(int=0),
                entry,
                entry=number,
            )
        )
    if answer.unreadable:
        return PartlyReadable(
            found, [UnreadableEntry(number, why) for number, why in answer.unreadable]
        )
    return found


def _list_receipt(receipt: Receipt) -> ListReceipt:
    kind = ANSWERS.get(receipt.message_type, "declare")
    cop_no, attempt = first_and_attempt(receipt.cop_no) if receipt.cop_no else (None, None)
    # The number of the exchange platform's envelope is the guid of the message in it, as this declarant numbers them.
    guid = (
        receipt.original_guid or receipt.original_id if receipt.message_type == "CEB900" else None
    )
    text = receipt.info if receipt.message_type == "CEB900" else ""
    return ListReceipt(
        receipt.message_type,
        cop_no,
        _reply(receipt, kind, attempt),
        guid,
        receipt.statistics_flag,
        text,
    )


def _reply(receipt: Receipt, kind: RequestKind, attempt: int | None) -> AuthorityReply:
    """The entry in the domain's words. The authority's own text stays out: it may quote a person."""
    status = codes.find_status(receipt.status)
    meaning = status.meaning_class if status else "unknown"
    # A whole message is refused by the exchange platform or the e-port, whatever its status is.
    technical = meaning == "technical" or receipt.message_type == "CEB900"
    if meaning == "technical" or receipt.message_type == "CEB900":
        meaning = "returned"
    if meaning == "granted" and kind == "declare":
        meaning = "accepted"
    if meaning == "accepted" and kind != "declare":
        meaning = "waiting"
    code = receipt.inner_code or (receipt.status if receipt.status.startswith("-") else None)
    return AuthorityReply(
        kind, meaning, receipt.status, receipt.public_info, code, receipt.invt_no, receipt.pre_no, receipt.at, attempt, technical,
        _way(receipt, code, technical=technical),
    )  # fmt: skip


def _way(receipt: Receipt, code: str | None, *, technical: bool) -> Remedy | None:
    """What follows from a failure on the way, by its code, else by its status."""
    if receipt.message_type == "CEB900":
        # A code that is in no list may speak of one document: the message is divided, and only what is alone waits.
        return codes.listed_way_of(code or receipt.status) or codes.listed_way_of(receipt.status)
    if technical:
        return codes.way_of(code or receipt.status) or codes.way_of(receipt.status)
    # The reason in a return of customs (100) may be the e-port's: our signature, or a way that was blocked.
    way = codes.way_of(code) if code is not None and code.startswith("-") else None
    return way if receipt.status == "100" and way in ("wait", "ours") else None
