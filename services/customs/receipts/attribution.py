"""Which order each entry of a receipt is about, and which request it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from services.customs import store
from services.customs.receipts.decoding import ListReceipt
from services.customs.receipts.refusals import RequestReply, read_refusals
from shared.database import Connection
from shared.envelope import Message
from shared.values import replace

__all__ = ["RequestReply", "attribute"]


async def attribute(conn: Connection, batch: Sequence[Message]) -> list[RequestReply]:
    """Return each entry with its order and reply. Entries with unknown numbers are left out.

    Where a whole message is answered, its requests tell which reply each gets. The number of
    another list is removed from the reply.
    """
    entries: list[ListReceipt] = [m.event for m in batch]
    by_cop, by_invt = await _orders_named(conn, entries)
    by_pre = await _orders_of_strange(conn, entries, by_cop, by_invt)
    replies: list[RequestReply] = await read_refusals(conn, batch)
    for m in batch:
        reply = m.event.reply
        if order_id := by_cop.get(m.event.cop_no):
            if by_invt.get(reply.invt_no, order_id) != order_id:
                reply = replace(reply, invt_no=None)
            replies.append((m, order_id, reply))
        elif order_id := by_invt.get(reply.invt_no) or by_pre.get(reply.pre_no):
            replies.append((m, order_id, replace(reply, attempt=None)))
    return replies


async def _orders_named(
    conn: Connection, entries: Sequence[ListReceipt]
) -> tuple[Mapping[str, UUID], Mapping[str, UUID]]:
    cop_nos = {e.cop_no for e in entries if e.cop_no}
    invt_nos = {e.reply.invt_no for e in entries if e.reply.invt_no}
    return await store.orders_of(conn, cop_nos, invt_nos)


async def _orders_of_strange(
    conn: Connection,
    entries: Sequence[ListReceipt],
    by_cop: Mapping[str, UUID],
    by_invt: Mapping[str, UUID],
) -> Mapping[str, UUID]:
    """Return orders by the e-port's number, for entries that name no other number of ours."""
    strange = {
        e.reply.pre_no
        for e in entries
        if e.reply.pre_no and e.cop_no not in by_cop and e.reply.invt_no not in by_invt
    }
    return await store.orders_numbered(conn, strange) if strange else {}
