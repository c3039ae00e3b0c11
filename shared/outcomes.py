"""Writes what a batch, a timer or a reply decided into the outbox and the effects."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from uuid import UUID

from shared import effects, inbox, outbox
from shared.clock import utc_now
from shared.database import Connection
from shared.envelope import Outgoing, rfc3339
from shared.errors import Unprocessable
from shared.sealing import Sealing
from shared.subscriptions import EmittedEvent, Outcome, fact_with_id


async def write(
    conn: Connection,
    service: str,
    topic: str,
    outcome: Outcome,
    sealing: Sealing,
    handled: Collection[UUID] = (),
) -> None:
    """Write an outcome into the outbox and the effects, in the caller's transaction.

    `handled`: ids of the messages handled in this transaction. Raises Unprocessable for an event
    whose id another event has.
    """
    at = rfc3339(utc_now())
    records = [fact_with_id(service, topic, fact, at) for fact in outcome.facts]
    try:
        await inbox.claim(conn, _ids_to_note(outcome.facts, records, handled))
    except inbox.Reused as reused:
        raise id_in_use(reused) from None
    await outbox.append(conn, sealing, [*(record for _, record in records), *outcome.records])
    await effects.record_commands(conn, sealing, outcome.commands)


def _ids_to_note(
    facts: Sequence[EmittedEvent],
    records: Sequence[tuple[UUID, Outgoing]],
    handled: Collection[UUID],
) -> list[inbox.Content]:
    """Return the event ids to note, so that none is used twice.

    A message is handled once, so the ids of its events need no note: they differ by event type.
    Causes of timers, replies and persons are ids of our own making and may repeat, so their events
    are noted. If two events here share an id, all are noted.
    """
    if len({event_id for event_id, _ in records}) < len(records):
        handled = ()
    return [
        content_of(fact, *each)
        for fact, each in zip(facts, records, strict=True)
        if fact.cause not in handled
    ]


def content_of(fact: EmittedEvent, event_id: UUID, record: Outgoing) -> inbox.Content:
    """Return the event's id and the digest of its content."""
    return event_id, inbox.digest_of(fact.event.type, record.value)


def id_in_use(reused: inbox.Reused) -> Unprocessable:
    """Return the refusal of events whose ids already belong to other events."""
    return as_reused_id(reused, "was said before")


def as_reused_id(reused: inbox.Reused, when: str) -> Unprocessable:
    """Return a refusal, reason `id_reused`, that names at most three ids; `when` follows them."""
    ids = ", ".join(map(str, sorted(reused.event_ids)[:3]))
    return Unprocessable(
        "id_reused", f"give each fact an id of its own: {ids} {when} with other content"
    )
