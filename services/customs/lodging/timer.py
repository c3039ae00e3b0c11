"""Timer of lodging: open batches that are full or old enough leave as one signed message each."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final
from uuid import UUID, uuid4, uuid5

import structlog
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.customs import metrics as customs_metrics
from services.customs import store
from services.customs.deps import Deps
from services.customs.domain import lodgement
from services.customs.domain.declaration import Declaration
from services.customs.domain.lodgement import Lodged
from services.customs.fold import Fold
from services.customs.gateway import MESSAGE_TYPES, PrintedRequest
from services.customs.lodging import pauses as lodging_pauses
from services.customs.lodging import store as lodging_store
from services.customs.lodging.domain import ALL
from services.customs.lodging.pauses import Pause
from services.customs.lodging.store import DueBatch, QueuedRequest
from services.customs.particulars import NotLodgeable, sealed_particulars
from services.customs.policy import Batching
from shared import topics
from shared.database import Connection
from shared.envelope import CONTENT_TYPE_XML, Outgoing, headers_of
from shared.events import Fault
from shared.subscriptions import Outcome
from shared.timer_items import Items, of_order

log = structlog.get_logger(__name__)


MESSAGES_MAX: Final = 5
"""Messages in one transaction: it stays short however many lists wait, and the next turn takes
more.
"""


LISTS: Final = Items("customs", "lodge", of_order)


async def lodge_due(conn: Connection, deps: Deps) -> Outcome:
    """Close every batch that is due and send its message, all in the caller's transaction.

    While lodging pauses for a group, only single trial lists leave.
    """
    pauses = await lodging_pauses.load(conn)
    outcome = Outcome()
    if pauses:
        pauses = await lodging_pauses.end_those_over(conn, pauses, datetime.now(UTC))
        for pause in await lodging_pauses.take_trials(conn, pauses, deps.authority.certificate):
            outcome.extend(
                await _lodge_trial(conn, deps, None if pause.scope == ALL else pause.scope)
            )
    outcome.extend(await _lodge_in_turn(conn, deps, pauses, datetime.now(UTC)))
    return outcome


async def _lodge_in_turn(
    conn: Connection, deps: Deps, pauses: Sequence[Pause], now: datetime
) -> Outcome:
    """Send one message of each group in turn, so that no group waits for thousands of another."""
    batching = deps.authority.policy.batching
    outcome = Outcome()
    due_batches = await lodging_store.list_due(conn, batching.lists_max, batching.age_s)
    turns = deque((due, due.count) for due in due_batches if not _is_paused(due, pauses))
    left = MESSAGES_MAX
    while turns and left:
        due, waiting = turns.popleft()
        if not _is_due(due, waiting, batching, now):
            continue
        taken = await lodging_store.take(conn, due, batching.lists_max)
        if not taken:
            continue
        closed_by = "age" if len(taken) < batching.lists_max else "size"
        closed_by = "part" if due.part is not None else closed_by
        outcome.extend(await _lodge(conn, deps, due, taken, now, closed_by))
        left -= 1
        turns.append((due, waiting - len(taken)))
    return outcome


def _is_paused(due: DueBatch, pauses: Sequence[Pause]) -> bool:
    return any(pause.holds(due.group_key) for pause in pauses)


def _is_due(due: DueBatch, waiting: int, batching: Batching, now: datetime) -> bool:
    aged = due.part is not None or (now - due.opened_at).total_seconds() >= batching.age_s
    return waiting > 0 and (aged or waiting >= batching.lists_max)


async def _lodge_trial(conn: Connection, deps: Deps, group_key: str | None) -> Outcome:
    due = await lodging_store.find_trial(conn, group_key)
    if due is None:
        return Outcome()
    taken = await lodging_store.take(conn, due, 1)
    if not taken:
        return Outcome()
    return await _lodge(conn, deps, due, taken, datetime.now(UTC), "trial")


async def _lodge(
    conn: Connection,
    deps: Deps,
    due: DueBatch,
    taken: Mapping[UUID, Declaration],
    at: datetime,
    closed_by: str,
) -> Outcome:
    """Lodge the requests taken from an open batch. A request that fails is set aside alone; the
    others go without it.
    """

    async def act(some: Sequence[UUID]) -> Outcome:
        return await _lodge_together(
            conn, deps, due, {order_id: taken[order_id] for order_id in some}, at, closed_by
        )

    async def later(order_id: UUID, wait_s: float) -> None:
        waiting = QueuedRequest(
            order_id,
            due.kind,
            due.group_key,
            datetime.now(UTC) + timedelta(seconds=wait_s),
            due.part,
        )
        await lodging_store.queue(conn, [waiting], ())

    return await LISTS.each(conn, list(taken), act, later)


async def _lodge_together(
    conn: Connection,
    deps: Deps,
    due: DueBatch,
    taken: Mapping[UUID, Declaration],
    at: datetime,
    closed_by: str,
) -> Outcome:
    if due.kind == "declare":  # a list is made of the order and its waybill
        declarations = await store.with_documents(conn, taken, without=("tax", "payment"))
    else:
        declarations = await store.with_returns(conn, taken)
    keys = await deps.sealing.keys_for(
        conn,
        [
            each
            for d in declarations.values()
            if d.order is not None
            for each in sealed_particulars(d.order)
        ],
    )
    fold = Fold.of(declarations)
    printed = _print(deps, due, declarations, keys, at, fold)
    unprintable = len(declarations) - len(printed)
    outcome = Outcome()
    if unprintable:
        kinds = [due.kind] * unprintable
        outcome.after_commit.append(partial(customs_metrics.record_unprinted, kinds))
    message_type = MESSAGE_TYPES[_direction(due), due.kind]
    for part in deps.authority.messages(message_type, printed):
        outcome.extend(await _send(conn, deps, due, message_type, part, at, closed_by, fold))
    outcome.extend(await fold.save(conn, deps.authority))
    return outcome


def _print(
    deps: Deps,
    due: DueBatch,
    declarations: Mapping[UUID, Declaration],
    keys: Mapping[UUID, AESGCM],
    at: datetime,
    fold: Fold,
) -> list[PrintedRequest]:
    """Print the requests in the order of their ids, which tells a list's place in its message.

    A request that cannot be printed is refused and left out.
    """
    printed: list[PrintedRequest] = []
    for _, d in sorted(declarations.items()):
        try:
            draft = deps.authority.draft(d, due.kind, keys, _guid(), at)
            printed.append(deps.authority.printed(d, due.kind, draft))
        except NotLodgeable as refused:
            _give_up(deps, d, due, refused.fault, at, fold)
    return printed


def _direction(due: DueBatch) -> str:
    return due.group_key.split("|", 1)[0]


def _give_up(
    deps: Deps, d: Declaration, due: DueBatch, fault: Fault, at: datetime, fold: Fold
) -> None:
    log.error(
        "a declaration cannot be printed",
        order_id=str(d.order_id),
        kind=due.kind,
        error=fault.found,
    )
    # With the version: a return may be refused twice, and each refusal is an event of its own.
    fold.apply(
        lodgement.refuse_unprintable(d, due.kind, fault.found or "", at, deps.policy, fault),
        uuid5(d.order_id, f"not lodgeable:{due.kind}:{d.version}"),
        at,
    )


async def _send(
    conn: Connection,
    deps: Deps,
    due: DueBatch,
    message_type: str,
    part: Sequence[PrintedRequest],
    at: datetime,
    closed_by: str,
    fold: Fold,
) -> Outcome:
    guid, batch_id = _guid(), uuid4()
    xml = deps.authority.compose(message_type, guid, [each.xml for each in part])
    await lodging_store.add_batch(conn, batch_id, due, guid, message_type, len(part), closed_by, at)
    for each in part:
        fold.apply(
            lodgement.record_lodging(each.declaration, Lodged(due.kind, batch_id, guid)),
            batch_id,
            at,
        )
    headers = headers_of(
        event_id=batch_id,
        event_type=f"{message_type}.v1",
        source="customs",
        at=at,
        content_type=CONTENT_TYPE_XML,
    )
    record = Outgoing(topics.DECLARATIONS, guid.encode(), xml, headers, sealed=True)
    open_s = (at - due.opened_at).total_seconds()
    return Outcome(
        records=[record],
        after_commit=[partial(customs_metrics.record_lodged, guid, len(part), closed_by, open_s)],
    )


def _guid() -> str:
    return str(uuid4()).upper()
