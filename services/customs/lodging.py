"""Collective declaration: open batches that are full or old enough leave as one signed message each."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Final
from uuid import UUID, uuid4, uuid5

import structlog

from services.customs import counting, store
from services.customs.ceb.writing import NotDeclarable
from services.customs.domain import declaration as domain
from services.customs.domain.declaration import Declaration, Lodged
from services.customs.gateway import MESSAGE_TYPES, Draft, NotLodgeable
from services.customs.reactions import Deps, Folded
from services.customs.store import Due
from shared import topics
from shared.database import Connection
from shared.envelope import CONTENT_TYPE_XML, Outgoing, headers_of
from shared.hears import Outcome

log = structlog.get_logger(__name__)


MESSAGES_MAX: Final = 5
"""Messages in one transaction: it stays short and small however many lists wait; the next turn takes the next."""


async def lodge_due(conn: Connection, deps: Deps) -> Outcome:
    """Close every batch that is due and put its message on the wire, all in the caller's transaction."""
    batching = deps.authority.policy.batching
    outcome = Outcome()
    left = MESSAGES_MAX
    for due in await store.list_due(conn, batching.lists_max, batching.age_s):
        now = datetime.now(UTC)
        aged = (now - due.opened_at).total_seconds() >= batching.age_s
        waiting = due.count
        while left and (waiting >= batching.lists_max or (aged and waiting > 0)):
            taken = await store.take(conn, due, batching.lists_max)
            if not taken:
                break
            left, waiting = left - 1, waiting - len(taken)
            outcome.extend(await _lodge(conn, deps, due, taken, now, "age" if len(taken) < batching.lists_max else "size"))
    return outcome


async def _lodge(
    conn: Connection, deps: Deps, due: Due, taken: Mapping[UUID, Declaration], at: datetime, closed_by: str
) -> Outcome:
    found = await (store.with_documents if due.kind == "declare" else store.with_returns)(conn, taken)
    persons = {d.order.buyer.person_ref for d in found.values() if d.order is not None}
    keys = await deps.sealing.keys_of(conn, persons)
    folded = Folded.of(found)
    drafts = []
    for order_id in taken:
        d = found[order_id]
        try:
            drafts.append((d, deps.authority.draft(d, due.kind, keys, _guid(), at)))
        except NotLodgeable as refused:
            _give_up(deps, d, due, str(refused), at, folded)
    outcome = Outcome()
    for part in deps.authority.messages(drafts):
        outcome.extend(await _send(conn, deps, due, part, at, closed_by, folded))
    outcome.extend(await folded.save(conn, deps.authority))
    return outcome


def _give_up(deps: Deps, d: Declaration, due: Due, why: str, at: datetime, folded: Folded) -> None:
    log.error("a declaration cannot be printed", order_id=str(d.order_id), kind=due.kind, error=why)
    # The version: a return may be refused, asked for anew and refused again, and each refusal is a fact of its own.
    folded.fold(
        domain.unlodgeable(d, due.kind, why, at, deps.policy), uuid5(d.order_id, f"not lodgeable:{due.kind}:{d.version}"), at
    )


async def _send(
    conn: Connection, deps: Deps, due: Due, part: list[tuple[Declaration, Draft]], at: datetime, closed_by: str, folded: Folded
) -> Outcome:
    direction = due.group_key.split("|", 1)[0]
    guid, batch_id = _guid(), uuid4()
    message_type = MESSAGE_TYPES[direction, due.kind]
    while part:
        try:
            xml = deps.authority.compose(direction, due.kind, guid, [draft for _, draft in part])
            break
        except NotDeclarable as refused:
            # One document the schema has no room for: the others go without it.
            for d, draft in part:
                if draft.cop_no == refused.cop_no:
                    _give_up(deps, d, due, str(refused), at, folded)
            part = [(d, draft) for d, draft in part if draft.cop_no != refused.cop_no]
    if not part:
        return Outcome()
    await store.add_batch(conn, batch_id, due, guid, message_type, len(part), closed_by, at)
    for d, _ in part:
        folded.fold(domain.lodged(d, Lodged(due.kind, batch_id, guid)), batch_id, at)
    headers = headers_of(
        event_id=batch_id, event_type=f"{message_type}.v1", source="customs", at=at, content_type=CONTENT_TYPE_XML
    )
    record = Outgoing(topics.DECLARATIONS, guid.encode(), xml, headers, sealed=True)
    open_s = (at - due.opened_at).total_seconds()
    return Outcome(records=[record], counts=[partial(counting.lodged, guid, len(part), closed_by, open_s)])


def _guid() -> str:
    return str(uuid4()).upper()
