"""Export lists whose closing or withdrawal decides whether they are consolidated."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from services.customs.consolidation import list_store
from services.customs.consolidation.terms import ConsolidationRules
from services.customs.domain.declaration import DeclarationState
from services.customs.fold import Fold
from services.customs.receipts.attribution import RequestReply
from services.customs.receipts.decoding import ListReceipt
from shared.database import Connection


async def note_closed_lists(
    conn: Connection, fold: Fold, replies: Sequence[RequestReply], rules: ConsolidationRules
) -> None:
    """Note closed export lists (899) under statisticsFlag B for consolidation with their month.

    A refused or withdrawn list is not consolidated, nor one whose cancellation is granted later.
    """
    if withdrawn := _withdrawn(fold):
        await list_store.drop_closed(conn, withdrawn)
    closed = {}
    for m, order_id, _ in replies:
        d = fold.declarations[order_id]
        if (d.released or d.release_waits) and _closes_export(m.event):
            at = m.event.reply.at or m.at
            closed[order_id] = (at, rules.month_of(at).label)
    if closed:
        await list_store.add_closed(conn, closed)


def _withdrawn(fold: Fold) -> list[UUID]:
    """Return the lists withdrawn although their release was received before."""
    return [
        order_id
        for order_id, d in fold.declarations.items()
        if d.state is DeclarationState.WITHDRAWN and fold.locked[order_id].release_waits
    ]


def _closes_export(entry: ListReceipt) -> bool:
    return (
        entry.message_type == "CEB604"
        and entry.reply.meaning == "closed"
        and entry.statistics_flag == "B"
    )
