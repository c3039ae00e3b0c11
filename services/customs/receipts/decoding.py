"""Receipts decoded: one message per entry, in the domain's words. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal
from uuid import NAMESPACE_URL, UUID

from services.customs.ceb import codes
from services.customs.ceb.parse import read_entries
from services.customs.ceb.receipts import Receipt
from services.customs.domain.declaration import AuthorityReply, Remedy, ReplyMeaning, RequestKind
from services.customs.domain.numbers import first_and_attempt
from shared.decoding import PartlyReadable, UnreadableEntry, message
from shared.envelope import Message, Record
from shared.identity import uuid5

ANSWERS: Final[Mapping[str, RequestKind]] = {
    "CEB622": "declare",
    "CEB604": "declare",
    "CEB624": "cancel",
    "CEB606": "cancel",
    "CEB626": "return",
    "CEB214": "return",
}


@dataclass(frozen=True, slots=True)
class ListReceipt:
    """One entry of a receipt about a list or one of our messages. `cop_no` is the number of the
    order's first list.
    """

    message_type: str
    cop_no: str | None
    reply: AuthorityReply
    message_guid: str | None = None
    """The message of ours that was refused whole (900: format check failed); no list is named then.
    """
    statistics_flag: str | None = None
    """The flag of an export list as the authority repeats it: B is to be consolidated."""
    text: str = field(default="", repr=False)
    """The raw text of a 900. It may name the wrong document, and a person: it is searched and never
    stored.
    """


def decode_receipts(record: Record) -> Sequence[Message]:
    """Return one message per entry of a receipt, and which entries cannot be read. Raises
    Unprocessable for anything else.

    The id comes from the bytes, which hold a guid and a time. The authority may repeat a receipt in
    other bytes long after; its list number tells which list it means.
    """
    parsed = read_entries(record.value or b"")
    if parsed.unreadable and not parsed.entries and len(parsed.unreadable) == 1:
        raise parsed.unreadable[0][1]
    digest = hashlib.sha256(record.value or b"").hexdigest()
    messages = []
    for number, entry in parsed.entries:
        event = _list_receipt(entry) if isinstance(entry, Receipt) else entry
        event_id = uuid5(NAMESPACE_URL, f"receipt:{digest}:{number - 1}")
        messages.append(
            message(
                record,
                event_id,
                f"{entry.message_type}.{entry.status}",
                UUID(int=0),
                event,
                entry=number,
            )
        )
    if parsed.unreadable:
        return PartlyReadable(
            messages, [UnreadableEntry(number, why) for number, why in parsed.unreadable]
        )
    return messages


def _list_receipt(receipt: Receipt) -> ListReceipt:
    kind = ANSWERS.get(receipt.message_type, "declare")
    cop_no, attempt = first_and_attempt(receipt.cop_no) if receipt.cop_no else (None, None)
    # This declarant numbers the exchange platform's envelope by the guid of the message in it.
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
    """Return the reply without the authority's own text, which may quote a person."""
    # A whole message is refused by the exchange platform or the e-port, whatever its status is.
    status = codes.find_status(receipt.status)
    status_class = status.meaning_class if status else "unknown"
    technical = status_class == "technical" or receipt.message_type == "CEB900"
    meaning = "returned" if technical else _meaning(kind, status_class)
    code = receipt.inner_code or (receipt.status if receipt.status.startswith("-") else None)
    return AuthorityReply(
        kind,
        meaning,
        receipt.status,
        receipt.public_info,
        code,
        receipt.invt_no,
        receipt.pre_no,
        receipt.at,
        attempt,
        technical,
        _way(receipt, code, technical=technical),
    )


def _meaning(
    kind: RequestKind, status_class: codes.StatusClass | Literal["unknown"]
) -> ReplyMeaning:
    """Return the meaning of a status for this kind of request, which may differ by kind."""
    if status_class == "technical":
        return "returned"
    if status_class == "granted" and kind == "declare":
        return "accepted"
    if status_class == "accepted" and kind != "declare":
        return "waiting"
    return status_class


def _way(receipt: Receipt, code: str | None, *, technical: bool) -> Remedy | None:
    if technical:
        # An unlisted code of a CEB900 may speak of one document: the message is divided, and only
        # what is alone waits.
        way_of = codes.listed_way_of if receipt.message_type == "CEB900" else codes.way_of
        return way_of(code or receipt.status) or way_of(receipt.status)
    # The reason in a return of customs (100) may be the e-port's: our signature, or a way that was
    # blocked.
    if receipt.status != "100" or code is None or not code.startswith("-"):
        return None
    way = codes.way_of(code)
    return way if way in ("wait", "ours") else None
