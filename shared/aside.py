"""Items that fail are set aside one by one, with the reason, and the others go on.

An item is an effect, a record of the outbox, or what a timer works on. Items are handled together. If that fails, they are
halved until the bad one stands alone. That one is noted in the table `aside`. It is tried again after a pause that grows from
a minute to an hour, always alone. An operator lists what is set aside and has it tried at once.
"""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Final, NamedTuple
from uuid import UUID

import structlog

from shared import metrics
from shared.database import OUTDATED, Connection, is_of_database, is_of_values
from shared.errors import Unavailable, Unprocessable
from shared.sealing import Unsealable
from shared.transitions import IllegalTransition

log = structlog.get_logger(__name__)

EFFECT: Final = "effect"
FIRST_S: Final = 60.0
PAUSE_MAX_S: Final = 3600.0


class Failed(NamedTuple):
    """An item that failed alone. `reason` is from a closed set; `error` carries no personal data."""

    subject: str
    order_id: UUID | None
    reason: str
    error: str


def is_blameless(error: BaseException) -> bool:
    """Whether no item can be to blame for the error: the same is tried again."""
    if isinstance(error, (Unavailable, *OUTDATED)):
        return True
    return is_of_database(error) and not is_of_values(error)


def failed(subject: str, order_id: UUID | None, error: BaseException) -> Failed:
    """The item with what the error says of it."""
    return Failed(subject, order_id, *reason_of(error))


def reason_of(error: BaseException) -> tuple[str, str]:
    """Why an item failed: a word from a closed set, and a text without values, since these may be personal."""
    if isinstance(error, Unprocessable):
        return error.reason, str(error)[:500]
    if isinstance(error, IllegalTransition):
        return "illegal_transition", str(error)[:500]
    if isinstance(error, Unsealable):
        return "sealed", "sealed under another key, or altered"
    if is_of_values(error):
        named = [
            getattr(error, name, None) for name in ("constraint_name", "table_name", "column_name")
        ]
        return (
            "integrity",
            (
                f"{type(error).__name__}: "
                f"{' '.join(n for n in named if n) or 'refused by the database'}"
            ),
        )
    frames = traceback.extract_tb(error.__traceback__)
    place = f" in {frames[-1].name}" if frames else ""
    return "unexpected", f"{type(error).__name__}{place}"


async def put(
    conn: Connection, service: str, source: str, items: Sequence[Failed]
) -> dict[str, float]:
    """Note items that failed alone; returns the seconds until each is tried again, by subject."""
    if not items:
        return {}
    rows = await conn.fetch(
        "INSERT INTO aside AS a (source, subject, order_id, reason, error, retry_at) "
        "SELECT $1, x.subject, x.order_id, x.reason, x.error, now() + make_interval(secs => $6) "
        "FROM unnest($2::text[], $3::uuid[], $4::text[], $5::text[]) "
        "AS x(subject, order_id, reason, error) "
        "ON CONFLICT (source, subject) DO UPDATE SET times = a.times + 1, reason = "
        "excluded.reason, error = excluded.error, "
        "last_at = now(), retry_at = now() + make_interval(secs => least($7, $6 * 2.0 ^ "
        "least(a.times, 20))) "
        "RETURNING subject, extract(epoch FROM retry_at - now())::float8 AS wait_s, times",
        source,
        [i.subject for i in items],
        [i.order_id for i in items],
        [i.reason for i in items],
        [i.error for i in items],
        FIRST_S,
        PAUSE_MAX_S,
    )
    for item in items:
        metrics.SET_ASIDE.labels(service, source, item.reason).inc()
        log.error(
            "set aside, the others go on: look at `crossborder aside list`",
            service=service,
            source=source,
            subject=item.subject,
            order_id=str(item.order_id or ""),
            reason=item.reason,
            error=item.error,
        )
    return {row["subject"]: row["wait_s"] for row in rows}


async def set_aside_subjects(conn: Connection, source: str, subjects: Collection[str]) -> set[str]:
    """Those of the subjects that are set aside."""
    rows = await conn.fetch(
        "SELECT subject FROM aside WHERE source = $1 AND subject = ANY($2::text[])",
        source,
        list(subjects),
    )
    return {row["subject"] for row in rows}


async def clear(conn: Connection, source: str, subjects: Collection[str]) -> None:
    """These succeeded."""
    await conn.execute(
        "DELETE FROM aside WHERE source = $1 AND subject = ANY($2::text[])", source, list(subjects)
    )


async def forget_gone(conn: Connection, source: str, due_for_s: float) -> None:
    """Forget items that were due for so many seconds and were not tried: they wait no more, as those of an order undone."""
    await conn.execute(
        "DELETE FROM aside WHERE source = $1 AND retry_at < now() - make_interval(secs => $2)",
        source,
        due_for_s,
    )


async def measure(conn: Connection, service: str) -> None:
    """Show how many items are set aside, by source, and since when the oldest is."""
    rows = await conn.fetch(
        "SELECT source, count(*) AS n, min(first_at) AS oldest FROM aside GROUP BY source"
    )
    counts = Counter(dict.fromkeys((*metrics.ASIDE_SOURCES, metrics.OTHER), 0))
    for row in rows:
        counts[row["source"] if row["source"] in counts else metrics.OTHER] += row["n"]
    for source, count in counts.items():
        metrics.ASIDE.labels(service, source).set(count)
    metrics.ASIDE_OLDEST.labels(service).set(
        min((row["oldest"].timestamp() for row in rows), default=0)
    )
