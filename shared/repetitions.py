"""Recognises messages that were handled before, by the ids in the inbox."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from shared import inbox
from shared.database import Connection
from shared.envelope import Message
from shared.outcomes import as_reused_id
from shared.subscriptions import Source


async def mark_unseen(
    conn: Connection, messages: Sequence[Message], sources: Mapping[str, Source]
) -> set[UUID]:
    """Note the ids of the messages. Return the ids that were not noted before.

    Outsiders repeat a record at any time, so a repeated id must not be an error of the database.
    Our own records are repeated only after a crash, so their ids are written with COPY, which costs
    less. Raises Unprocessable for an id that came before with other content.
    """
    ours: list[inbox.Content] = []
    from_outside: list[inbox.Content] = []
    for_good: list[inbox.Content] = []
    # A receipt may be about 100 lists, and each message has the whole value: digest it once.
    digests: dict[tuple[str, int], int] = {}
    for m in messages:
        content = m.type, id(m.value)
        digest = digests.get(content)
        if digest is None:
            digest = digests[content] = inbox.digest_of(m.type, m.value)
        kind = for_good if m.once else from_outside if sources[m.topic].intake else ours
        kind.append((m.event_id, digest))
    try:
        unseen = await inbox.unseen(conn, ours)
        unseen |= await inbox.unseen(conn, from_outside, repeats=True)
    except inbox.Reused as reused:
        raise as_reused_id(reused, "came before") from None
    return unseen | await inbox.unseen_for_good(conn, for_good)
