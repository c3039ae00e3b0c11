"""Messages of ours that the authority refused whole (CEB900): divided until the wrong document
stands alone.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from typing import Final
from uuid import NAMESPACE_URL, UUID

from services.customs.domain.declaration import AuthorityReply
from services.customs.domain.numbers import cop_no_of
from services.customs.receipts import store as receipts_store
from services.customs.receipts.decoding import ListReceipt
from services.customs.receipts.store import LodgedRequest
from shared.database import Connection
from shared.envelope import Message
from shared.identity import uuid5
from shared.values import replace

REST_S: Final = 1.0
"""The named document goes first. The others follow when it may have been answered."""
_OF_DOCUMENTS: Final = (None, "decision")
"""Refusals for a document in the message, not for its transit or signature."""
RequestReply = tuple[Message, UUID, AuthorityReply]
_PLACE: Final = re.compile(r"(?:\bdocument|第)\s*([0-9]{1,3})(?![0-9])", re.IGNORECASE)
_LIST: Final = re.compile(r"(?<![0-9A-Z])[C-Z]([A-Z2-7]{19})(?![0-9A-Z])")


async def read_refusals(conn: Connection, batch: Sequence[Message]) -> list[RequestReply]:
    """Return these entries with every request of their messages, and the reply each request gets.

    One wrong document refuses its whole message. The message is divided and lodged again until the
    wrong document is refused alone. Of n documents with k wrong ones that takes at most 1 + 2k⌈log2
    n⌉ messages. It takes fewer where the refusal names the document, which is then tried alone
    first.
    """
    refused = [m for m in batch if m.event.message_guid is not None]
    if not refused:
        return []
    requests_of = await receipts_store.requests_in(conn, {m.event.message_guid for m in refused})
    alone = _refused_alone(refused, requests_of)
    replies: list[RequestReply] = []
    for m in refused:
        requests = requests_of.get(m.event.message_guid, [])
        parts = await _divide(conn, m.event, requests, alone)
        for each in requests:
            reply = replace(m.event.reply, on=each.kind)
            if each.order_id in parts:
                part, pause_s = parts[each.order_id]
                reply = replace(reply, way="again", part=part, pause_s=pause_s)
            replies.append((m, each.order_id, reply))
    return replies


def _refused_alone(
    refused: Sequence[Message], requests_of: Mapping[str, Sequence[LodgedRequest]]
) -> set[UUID]:
    return {
        each.order_id
        for m in refused
        for each in requests_of.get(m.event.message_guid, ())
        if each.lists == 1 and m.event.reply.way in _OF_DOCUMENTS
    }


async def _divide(
    conn: Connection, entry: ListReceipt, requests: Sequence[LodgedRequest], alone: Collection[UUID]
) -> Mapping[UUID, tuple[UUID, float]]:
    """Return the next part of each request and its delay; none where the message is not divided.

    `alone`: orders whose documents are refused by themselves now.
    """
    if not requests or requests[0].lists == 1 or entry.reply.way not in _OF_DOCUMENTS:
        return {}
    first, ids = requests[0], [each.order_id for each in requests]
    tried = None if _was_misled(first, alone) else await _find_named(conn, entry, requests)
    sizes: dict[UUID, int] = {}
    next_parts: dict[UUID, tuple[UUID, float]] = {}
    for number, group in enumerate(_groups(ids, tried)):
        part = uuid5(NAMESPACE_URL, f"part:{first.message_guid}:{number}")
        pause_s = 0.0 if tried is None or group == [tried] else REST_S
        sizes[part] = len(group)
        next_parts |= dict.fromkeys(group, (part, pause_s))
    await receipts_store.add_parts(conn, first.message_guid, sizes, tried)
    return next_parts


def _was_misled(request: LodgedRequest, alone: Collection[UUID]) -> bool:
    """Return whether the refusal before named an order that was not refused alone."""
    return request.part is not None and not (request.tried_refused or request.tried in alone)


def _groups(ids: Sequence[UUID], tried: UUID | None) -> list[Sequence[UUID]]:
    """Return the named order and the rest, or both halves; an empty group is left out."""
    if tried is None:
        middle = (len(ids) + 1) // 2
        groups: list[Sequence[UUID]] = [ids[:middle], ids[middle:]]
    else:
        groups = [[tried], [order_id for order_id in ids if order_id != tried]]
    return [group for group in groups if group]


async def _find_named(
    conn: Connection, entry: ListReceipt, requests: Sequence[LodgedRequest]
) -> UUID | None:
    """Return the order that the text names, by a number of ours or of customs, or by its place.

    A name that proved wrong once is not followed again. The rest is halved, so random names cost
    nothing.
    """
    text = unicodedata.normalize("NFKC", entry.text)
    lists = set(_LIST.findall(text))
    matches = [each.order_id for each in requests if _is_numbered(each, lists, text)]
    if not matches:
        numbers = await receipts_store.order_nos(conn, [each.order_id for each in requests])
        matches = [order_id for order_id, no in sorted(numbers.items()) if _stands_in(no, text)]
    if not matches:
        matches = _at_place(text, requests)
    return matches[0] if len(matches) == 1 else None


def _is_numbered(request: LodgedRequest, lists: Collection[str], text: str) -> bool:
    in_text = bool(request.invt_no) and str(request.invt_no) in text
    return in_text or cop_no_of(request.order_id)[1:] in lists


def _at_place(text: str, requests: Sequence[LodgedRequest]) -> list[UUID]:
    place = _PLACE.search(text)
    if place is None or requests[0].lists != len(requests):
        return []
    at = int(place[1]) - 1
    return [requests[at].order_id] if 0 <= at < len(requests) else []


def _stands_in(number: str, text: str) -> bool:
    return (
        re.search(
            rf"(?<![0-9A-Za-z]){re.escape(unicodedata.normalize('NFKC', number))}(?![0-9A-Za-z])",
            text,
        )
        is not None
    )
