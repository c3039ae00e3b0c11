"""Items that fail are set aside one by one with the reason, and the other items go on."""

# An item is an effect, a record of the outbox, or an object on which a timer works.
# Items are handled together. If that fails, they are halved until the bad item stands alone.
# The table `aside` notes this item.
# The item is tried again, always alone, after a pause that grows from a minute to an hour.
# An operator can list the items and have them tried at once.

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
"""Seconds until an item is tried again the first time; the pause doubles with each failure."""
PAUSE_MAX_S: Final = 3600.0


class Failed(NamedTuple):
    """An item that failed alone.

    `reason` is a word from a closed set, since it labels a metric. `error` is a text without
    personal data.
    """

    subject: str
    order_id: UUID | None
    reason: str
    error: str


def is_blameless(error: BaseException) -> bool:
    """Tell whether no item can have caused the error, so that all are tried again as they are."""
    if isinstance(error, (Unavailable, *OUTDATED)):
        return True
    return is_of_database(error) and not is_of_values(error)


def failed(subject: str, order_id: UUID | None, error: BaseException) -> Failed:
    """Return the item with the reason and the text of its error."""
    return Failed(subject, order_id, *reason_of(error))


def reason_of(error: BaseException) -> tuple[str, str]:
    """Return why an item failed: a word from a closed set, and a text.

    The text quotes no values, since values may be personal.
    """
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
    """Note items that failed alone. Return the seconds until each is tried again, by subject.

    `source`: the collection of the items, such as EFFECT or the name of a timer.
    """
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
    """Return the subjects that are set aside, among those given."""
    rows = await conn.fetch(
        "SELECT subject FROM aside WHERE source = $1 AND subject = ANY($2::text[])",
        source,
        list(subjects),
    )
    return {row["subject"] for row in rows}


async def clear(conn: Connection, source: str, subjects: Collection[str]) -> None:
    """Forget these items: they succeeded."""
    await conn.execute(
        "DELETE FROM aside WHERE source = $1 AND subject = ANY($2::text[])", source, list(subjects)
    )


async def forget_gone(conn: Connection, source: str, due_for_s: float) -> None:
    """Forget items that were due for `due_for_s` seconds and that nobody tried.

    Such items no longer wait: for example, their order was undone.
    """
    await conn.execute(
        "DELETE FROM aside WHERE source = $1 AND retry_at < now() - make_interval(secs => $2)",
        source,
        due_for_s,
    )


async def measure(conn: Connection, service: str) -> None:
    """Set the gauges of the items set aside: their number by source, and the oldest time."""
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
