"""Pauses of lodging: opened and ended by replies, probed by trials of one list each."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import structlog

from services.customs.cases import LODGING_REFUSED
from services.customs.lodging.domain import ALL, FIRST_S, OUTAGE_S, Reason, next_trial
from shared import cases, metrics
from shared.cases import Case
from shared.database import Connection

log = structlog.get_logger(__name__)

REASONS: Final[tuple[Reason, ...]] = ("wait", "ours")


@dataclass(frozen=True, slots=True)
class Pause:
    """Only trials are lodged for the groups of this scope."""

    scope: str
    reason: Reason
    since: datetime
    next_at: datetime
    over: bool
    certificate: str

    def holds(self, group_key: str) -> bool:
        return self.scope in (ALL, group_key)


@dataclass(frozen=True, slots=True)
class LodgingSignal:
    """A reply that matters to the pause of a group: the message it answers, and the code of a
    failure.
    """

    group_key: str
    message_guid: str | None
    reason: Reason | None
    code: str = ""


async def load(conn: Connection) -> list[Pause]:
    rows = await conn.fetch(
        "SELECT scope, reason, since, next_at, over, certificate FROM pause ORDER BY scope"
    )
    return [Pause(**row) for row in rows]


async def apply_signals(
    conn: Connection, signals: Sequence[LodgingSignal], certificate: str
) -> None:
    passed = [each for each in signals if each.reason is None]
    if passed:
        await _mark_over(conn, passed)
    # Where some pass, the way is not blocked.
    passing = {each.group_key for each in passed}
    blocked = _blocked(signals, passing)
    for scope, each in sorted(blocked.items()):
        await _open(conn, scope, each, certificate)


def _blocked(
    signals: Sequence[LodgingSignal], passing: Collection[str]
) -> dict[str, LodgingSignal]:
    return {
        (ALL if each.reason == "ours" else each.group_key): each
        for each in signals
        if each.reason == "ours" or (each.reason == "wait" and each.group_key not in passing)
    }


async def _mark_over(conn: Connection, passed: Sequence[LodgingSignal]) -> None:
    await conn.execute(
        "UPDATE pause AS p SET over = true WHERE p.scope IN (SELECT q.scope FROM pause AS q "
        "JOIN batch AS b ON q.scope IN ($2, b.group_key) WHERE b.message_guid = "
        "ANY($1::text[]) AND b.lodged_at >= q.since AND NOT q.over ORDER BY q.scope FOR "
        "UPDATE OF q)",
        [each.message_guid for each in passed],
        ALL,
    )


async def _open(conn: Connection, scope: str, signal: LodgingSignal, certificate: str) -> None:
    opened = await conn.execute(
        "INSERT INTO pause (scope, reason, code, since, next_at, certificate) VALUES ($1, $2, "
        "$3, now(), now() + make_interval(secs => $4), $5) ON CONFLICT (scope) DO NOTHING",
        scope,
        signal.reason,
        signal.code,
        FIRST_S,
        certificate,
    )
    if opened != "INSERT 0 1":
        return
    log.error("lodging pauses", scope=scope, reason=signal.reason, code=signal.code)
    if signal.reason == "ours":
        # With the time: the same refusal after a repair is a case of its own.
        details = {
            "code": signal.code,
            "certificate": certificate,
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        await cases.open_all(conn, [Case(LODGING_REFUSED, scope, details=details)])


async def end_those_over(conn: Connection, pauses: Sequence[Pause], now: datetime) -> list[Pause]:
    """Delete the pauses that are over and return the others. After an outage everything waiting is
    lodged at once.
    """
    for pause in pauses:
        if pause.over:
            await _end(conn, pause, now)
    return [each for each in pauses if not each.over]


async def _end(conn: Connection, pause: Pause, now: datetime) -> None:
    await conn.execute("DELETE FROM pause WHERE scope = $1 AND over", pause.scope)
    lasted_s = (now - pause.since).total_seconds()
    if lasted_s >= OUTAGE_S or pause.reason == "ours":
        await conn.execute(
            "UPDATE waiting SET since = now() WHERE since > now() AND ($1 = $2 OR group_key = $1)",
            pause.scope,
            ALL,
        )
    if pause.reason == "ours":
        for case in await cases.fetch(conn):
            if case.kind == LODGING_REFUSED and case.subject == pause.scope:
                note = "a list was taken after the refusals: found the way free by a trial"
                await cases.close(conn, case.number, verdict="mended", note=note, by="customs")
    log.warning("lodging goes on", scope=pause.scope, reason=pause.reason, paused_s=round(lasted_s))


async def take_trials(conn: Connection, pauses: Sequence[Pause], certificate: str) -> list[Pause]:
    """Return the pauses that need a trial now, and postpone their next trial so that no other
    replica tries too.

    A certificate other than the refused one is tried at once.
    """
    now = datetime.now(UTC)
    due = [
        each
        for each in pauses
        if each.next_at <= now or (each.reason == "ours" and each.certificate != certificate)
    ]
    for each in due:
        await conn.execute(
            "UPDATE pause SET next_at = now() + $2, certificate = $3, trials = trials + 1 WHERE "
            "scope = $1",
            each.scope,
            next_trial(each.reason, now - each.since),
            certificate,
        )
    return due


async def measure(conn: Connection) -> None:
    rows: Sequence[Mapping[str, Any]] = await conn.fetch(
        "SELECT reason, count(*) AS count FROM pause GROUP BY reason"
    )
    counts = {row["reason"]: row["count"] for row in rows}
    for reason in REASONS:
        metrics.LODGING_PAUSED.labels(reason).set(counts.get(reason, 0))
