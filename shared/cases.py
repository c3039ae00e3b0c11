"""Cases: contradictions and dead ends without a rule, kept until a person settles them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import orjson

from shared import metrics
from shared.database import Connection

Kinds = Mapping[str, str]
"""The kinds of case that a service can open, each with a sentence that says what to do."""

NOTE_MAX: Final = 2000


@dataclass(frozen=True, slots=True)
class Case:
    """One matter for a person to settle.

    `kind` is from the closed set of the service. `subject` names the matter: at most one case is
    open for each kind and subject. `details` are JSON values without personal data.
    """

    kind: str
    subject: str
    order_id: UUID | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StoredCase:
    """A case as the table of its service stores it.

    `times`: how often the service met the matter while the case was open.
    """

    number: int
    kind: str
    subject: str
    order_id: UUID | None
    details: dict[str, Any]
    times: int
    opened_at: datetime
    last_at: datetime
    closed_at: datetime | None
    verdict: str | None
    note: str | None
    closed_by: str | None


async def open_all(conn: Connection, cases: Sequence[Case]) -> list[Case]:
    """Open the cases in the caller's transaction. Return the cases that were not open before.

    A case that is open already is counted once more and takes the newest details. A closed case
    opens again only with other details: a person has settled the same details before.
    """
    if not cases:
        return []
    newest = {(case.kind, case.subject): case for case in cases}
    ordered = [newest[key] for key in sorted(newest)]
    rows = await conn.fetch(
        "INSERT INTO cases AS c (kind, subject, order_id, details) "
        "SELECT n.kind, n.subject, n.order_id, n.details "
        "FROM unnest($1::text[], $2::text[], $3::uuid[], $4::jsonb[]) AS n(kind, subject, "
        "order_id, details) "
        "WHERE NOT EXISTS (SELECT FROM cases AS settled WHERE settled.kind = n.kind AND "
        "settled.subject = n.subject "
        "AND settled.closed_at IS NOT NULL AND settled.details = n.details) "
        "ON CONFLICT (kind, subject) WHERE closed_at IS NULL DO UPDATE "
        "SET details = excluded.details, times = c.times + 1, last_at = now() RETURNING kind, "
        "subject, times = 1 AS fresh",
        [case.kind for case in ordered],
        [case.subject for case in ordered],
        [case.order_id for case in ordered],
        [orjson.dumps(case.details).decode() for case in ordered],
    )
    return [newest[row["kind"], row["subject"]] for row in rows if row["fresh"]]


async def close(conn: Connection, number: int, *, verdict: str, note: str, by: str) -> bool:
    """Close an open case. Return False if no open case has this number.

    Raises ValueError for a note that is empty or has more than NOTE_MAX characters.
    """
    if not note.strip() or len(note) > NOTE_MAX:
        raise ValueError(f"say why in a note of 1 to {NOTE_MAX} characters: found {len(note)}")
    done = await conn.execute(
        "UPDATE cases SET closed_at = now(), verdict = $2, note = $3, closed_by = $4 WHERE number "
        "= $1 AND closed_at IS NULL",
        number,
        verdict,
        note,
        by,
    )
    return bool(done == "UPDATE 1")


async def fetch(
    conn: Connection, *, open_only: bool = True, schema: str | None = None
) -> list[StoredCase]:
    """Return the cases of the connection's schema, or of `schema`, oldest first.

    Raises ValueError for a schema that is no service's. So do `fetch_one` and `open_for`.
    """
    rows = await conn.fetch(
        f"SELECT {_COLUMNS} FROM {_table(schema)} "  # noqa: S608
        "WHERE closed_at IS NULL OR NOT $1 ORDER BY number",
        open_only,
    )
    return [_stored(row) for row in rows]


async def fetch_one(
    conn: Connection, number: int, *, schema: str | None = None
) -> StoredCase | None:
    """Return the case of this number, or None."""
    row = await conn.fetchrow(
        f"SELECT {_COLUMNS} FROM {_table(schema)} "  # noqa: S608
        "WHERE number = $1",
        number,
    )
    return None if row is None else _stored(row)


async def open_for(
    conn: Connection, order_ids: Collection[UUID], *, schema: str | None = None
) -> list[StoredCase]:
    """Return the open cases of these orders, oldest first."""
    rows = await conn.fetch(
        f"SELECT {_COLUMNS} FROM {_table(schema)} "  # noqa: S608
        "WHERE order_id = ANY($1::uuid[]) AND closed_at IS NULL ORDER BY number",
        list(order_ids),
    )
    return [_stored(row) for row in rows]


async def measure(conn: Connection, service: str, kinds: Kinds) -> None:
    """Set the gauges of the open cases: their number by kind, and the oldest time."""
    if not kinds:
        return
    rows = await conn.fetch(
        "SELECT kind, count(*) AS count, min(opened_at) AS oldest FROM cases WHERE closed_at IS "
        "NULL GROUP BY kind"
    )
    counts = {row["kind"]: row["count"] for row in rows}
    for kind in (*kinds, *counts):
        metrics.CASES_OPEN.labels(service, kind).set(counts.get(kind, 0))
    oldest = min((row["oldest"].timestamp() for row in rows), default=0.0)
    metrics.CASES_OLDEST.labels(service).set(oldest)


_COLUMNS: Final = (
    "number, kind, subject, order_id, details, times, opened_at, last_at, closed_at, verdict, "
    "note, closed_by"
)
_SCHEMAS: Final = ("orders", "payments", "tax", "customs")


def _table(schema: str | None) -> str:
    if schema is None:
        return "cases"
    if schema not in _SCHEMAS:
        raise ValueError(f"name one of {', '.join(_SCHEMAS)}: found {schema!r}")
    return f"{schema}.cases"


def _stored(row: Any) -> StoredCase:
    return StoredCase(**{**dict(row), "details": _decoded(row["details"])})


def _decoded(details: Any) -> dict[str, Any]:
    # The command line's connections decode jsonb themselves.
    found: dict[str, Any] = orjson.loads(details) if isinstance(details, str) else details
    return found
