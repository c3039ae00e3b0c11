"""Commands to outside parties: stored before they are sent, and sent outside any transaction."""

# A missing reply means *unknown*, never *failed*. The command is sent again under the same key
# until a reply arrives. The transaction that records the reply deletes the command's row.

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import structlog

from shared import metrics
from shared.database import Connection
from shared.sealing import Sealing
from shared.subscriptions import OutboundCommand, Outcome

log = structlog.get_logger(__name__)

BACKOFF_MAX_S: Final = 60.0
BOUND: Final = b"effect"
"""Binds a sealed request to this table: it opens nowhere else."""


@dataclass(frozen=True, slots=True)
class Effect:
    """One claimed command.

    `attempts` counts the claims. A process whose lease ran out has an old count, and is fenced.
    """

    intent_id: UUID
    order_id: UUID
    kind: str
    request: bytes
    attempts: int
    alone: bool = False
    """The effect was set aside, so it is sent alone."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The outside party's reply to one effect. `answer` is of the service's own type."""

    effect: Effect
    answer: Any


@dataclass(frozen=True, slots=True)
class NoReply:
    """No reply yet: send again after `retry_s` seconds. None: by the number of attempts."""

    effect: Effect
    retry_s: float | None = None


Send = Callable[[str, Sequence[Effect]], Awaitable[Sequence[Reply | NoReply]]]
"""Send effects of one kind in bulk. Raises Unavailable if the party received none."""

RecordReplies = Callable[[Connection, Sequence[Reply], Any], Awaitable[Outcome]]
"""Decide the outcome of replies, in the caller's transaction. The third argument: `Deps`."""


async def record_commands(
    conn: Connection, sealing: Sealing, commands: Sequence[OutboundCommand]
) -> None:
    """Store commands in the caller's transaction. A command that is stored already stays as it is.

    A command with `priority` is due before all others.
    """
    if not commands:
        return
    await conn.execute(
        "INSERT INTO effect (intent_id, order_id, kind, request, next_at) "
        "SELECT x.intent_id, x.order_id, x.kind, x.request, "
        "CASE WHEN x.priority THEN '-infinity' ELSE now() + make_interval(secs => x.delay_s) END "
        "FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::bytea[], $5::float8[], $6::bool[]) "
        "AS x(intent_id, order_id, kind, request, delay_s, priority) "
        "ON CONFLICT DO NOTHING",
        [i.intent_id for i in commands],
        [i.order_id for i in commands],
        [i.kind for i in commands],
        [sealing.encrypt(i.request, BOUND) for i in commands],
        [i.delay_s for i in commands],
        [i.priority for i in commands],
    )


async def claim_due(
    conn: Connection, count: int, lease_s: float, full_lanes: Collection[tuple[str, bool]]
) -> Sequence[Any]:
    """Claim due effects for `lease_s` seconds. Return their rows, at most `count`.

    `full_lanes`: lanes to leave out. Each is a kind, and whether the lane is of repeated effects.
    """
    rows: Sequence[Any] = await conn.fetch(
        "WITH due AS MATERIALIZED (SELECT intent_id FROM effect WHERE next_at <= now() "
        "AND kind <> ALL (CASE WHEN attempts > 0 THEN $4::text[] ELSE $3::text[] END) "
        "ORDER BY next_at LIMIT $1 FOR UPDATE SKIP LOCKED) "
        "UPDATE effect AS e SET attempts = attempts + 1, "
        "next_at = now() + make_interval(secs => $2) FROM due "
        "WHERE e.intent_id = due.intent_id "
        "RETURNING e.intent_id, e.order_id, e.kind, e.request, e.attempts, e.intent_id = ANY "
        "(ARRAY(SELECT subject::uuid FROM aside WHERE source = 'effect')) AS alone",
        count,
        lease_s,
        [kind for kind, repeated in full_lanes if not repeated],
        [kind for kind, repeated in full_lanes if repeated],
    )
    return rows


async def claim_again(
    conn: Connection, claimed: Sequence[Effect], lease_s: float
) -> dict[UUID, int]:
    """Count another attempt. Return the number of attempts by `intent_id`.

    Effects that another process has claimed are left out.
    """
    rows = await conn.fetch(
        "UPDATE effect AS e SET attempts = e.attempts + 1, "
        "next_at = now() + make_interval(secs => $3) "
        "FROM unnest($1::uuid[], $2::int[]) AS u(intent_id, attempts) "
        "WHERE e.intent_id = u.intent_id AND e.attempts = u.attempts "
        "RETURNING e.intent_id, e.attempts",
        [e.intent_id for e in claimed],
        [e.attempts for e in claimed],
        lease_s,
    )
    return {row["intent_id"]: row["attempts"] for row in rows}


def group_by_kind(claimed: Sequence[Effect]) -> list[tuple[str, list[Effect]]]:
    """Group the effects by kind, new and repeated effects apart.

    An effect that was set aside forms a group alone.
    """
    groups: dict[tuple[str, bool, UUID | None], list[Effect]] = {}
    for effect in claimed:
        alone = effect.intent_id if effect.alone else None
        groups.setdefault((effect.kind, effect.attempts > 1, alone), []).append(effect)
    return [(kind, effects) for (kind, _, _), effects in groups.items()]


async def put_off(conn: Connection, waits: Sequence[tuple[Effect, float]]) -> None:
    """Make each effect due after so many seconds, unless another process has claimed it."""
    await conn.execute(
        "UPDATE effect AS e SET next_at = now() + make_interval(secs => u.wait) "
        "FROM unnest($1::uuid[], $2::int[], $3::float8[]) AS u(intent_id, attempts, wait) "
        "WHERE e.intent_id = u.intent_id AND e.attempts = u.attempts",
        [e.intent_id for e, _ in waits],
        [e.attempts for e, _ in waits],
        [wait for _, wait in waits],
    )


def backoff_s(attempts: int, dice: Callable[[], float] = random.random) -> float:
    """Return the seconds until the next attempt: 0.2 s, doubled each time, up to a minute.

    Chance adds or takes up to a fifth, so that not all effects become due at once. `dice`: returns
    a number from 0 to 1.
    """
    return float(min(BACKOFF_MAX_S, 0.1 * 2 ** min(attempts, 12))) * (0.8 + 0.4 * dice())


async def measure(conn: Connection, service: str) -> int:
    """Set the gauges of open commands. Return their number, without the commands set aside."""
    row = await conn.fetchrow(
        "SELECT count(*) AS open, count(*) FILTER (WHERE attempts > 1) AS unknown, "
        "min(created_at) FILTER (WHERE next_at < now() + interval '2 minutes') AS oldest FROM "
        "effect "
        "WHERE intent_id <> ALL (ARRAY(SELECT subject::uuid FROM aside WHERE source = 'effect'))"
    )
    metrics.EFFECTS_OPEN.labels(service).set(row["open"])
    metrics.EFFECTS_UNKNOWN.labels(service).set(row["unknown"])
    metrics.EFFECTS_OLDEST.labels(service).set(row["oldest"].timestamp() if row["oldest"] else 0)
    return int(row["open"])


LEASE_S: Final = 10.0
"""Seconds for which a claimed effect is leased.

A claim moves `next_at` forward by the lease, so the effects of a crashed process become due again.
The lease is renewed during a call: a short lease allows a long call.
"""
