"""Calls to outside parties: recorded before they are sent, sent outside any transaction, their answers facts.

An answer that does not come is *unknown*, never *failed*: the same instruction is asked about or sent again under the
same key until somebody tells. The row goes in the transaction that records the answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID

import structlog

from shared import aside, metrics
from shared.database import LOST, RETRYABLE, Connection
from shared.errors import Unavailable
from shared.failpoints import Failpoints
from shared.loop_failures import LoopFailures
from shared.sealing import Sealing, Unsealable
from shared.subscriptions import OutboundCommand, Outcome
from shared.tasks import wait_for_event

log = structlog.get_logger(__name__)

CLAIM_MAX: Final = 800
LEASE_S: Final = 10.0
"""A claimed effect is nobody else's for so long: its next time is put off by it, so a dead claimant's come up again. While the
outside party is asked it is put off again and again, so a short lease does not mean a short call."""
LANE_CALLS: Final = 2
"""Calls of one kind at once, and as many of what is asked for again: slow look-ups keep nothing new from its turn."""
CALL_S: Final = 25.0
"""How long the outside party may take in all for what was claimed at once."""
POLL_S: Final = 0.1
BACKOFF_MAX_S: Final = 60.0
BOUND: Final = b"effect"


@dataclass(frozen=True, slots=True)
class Effect:
    """One claimed instruction. `attempts` counts claims and fences a claimant whose lease ran out."""

    intent_id: UUID
    order_id: UUID
    kind: str
    request: bytes
    attempts: int
    apart: bool = False
    """It failed alone before, so it is asked by itself."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The outside party's word on one effect, as the service's own answer type."""

    effect: Effect
    answer: Any


@dataclass(frozen=True, slots=True)
class NoReply:
    """No word yet: ask again after `retry_s` seconds (None: by the number of attempts)."""

    effect: Effect
    retry_s: float | None = None


Send = Callable[[str, Sequence[Effect]], Awaitable[Sequence[Reply | NoReply]]]
"""Sends effects of one kind in bulk; raises Unavailable if none was heard."""

RecordReplies = Callable[[Connection, Sequence[Reply], Any], Awaitable[Outcome]]
"""Records answers as facts: a reaction."""


async def record_commands(
    conn: Connection, sealing: Sealing, instructions: Sequence[OutboundCommand]
) -> None:
    """Record instructions in the caller's transaction; one that is there already is left alone."""
    if not instructions:
        return
    await conn.execute(
        "INSERT INTO effect (intent_id, order_id, kind, request, next_at) "
        "SELECT i, o, k, r, CASE WHEN a THEN '-infinity' ELSE now() + make_interval(secs => d) END "
        "FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::bytea[], $5::float8[], $6::bool[]) AS u(i, o, k, r, d, a) "
        "ON CONFLICT DO NOTHING",
        [i.intent_id for i in instructions], [i.order_id for i in instructions], [i.kind for i in instructions],
        [sealing.encrypt(i.request, BOUND) for i in instructions], [i.delay_s for i in instructions],
        [i.priority for i in instructions],
    )  # fmt: skip


class EffectRunner:
    """Claims due effects, performs them in bulk by kind, settles the answers."""

    def __init__(
        self, service: str, pool: Any, deps: Any, send: Send, record_replies: RecordReplies,
        finish: Callable[[Connection, Outcome], Awaitable[None]], after: Callable[[Outcome], None], *, sealing: Sealing,
        failpoints: Failpoints | None = None, lease_s: float = LEASE_S,
    ) -> None:  # fmt: skip
        self._lease_s = lease_s
        self._service = service
        self._pool = pool
        self._deps = deps
        self._perform = send
        self._settle = record_replies
        self._finish = finish
        self._after = after
        self._sealing = sealing
        self._fail = failpoints or Failpoints()
        self._wake = asyncio.Event()
        self._under_way: Counter[tuple[str, bool]] = Counter()

    def wake(self) -> None:
        """New instructions were committed in this process."""
        self._wake.set()

    async def run(self) -> None:
        """Ends only by cancellation: an error nobody foresaw is counted and logged, and tried again after growing pauses.

        Each kind has a lane of its own: one that is slow keeps no other kind from its turn.
        """
        failures = LoopFailures(self._service, "effects")
        calls: set[asyncio.Task[None]] = set()
        try:
            while True:
                try:
                    claimed = await self._begin(calls)
                    await self._heed(calls)
                    if not claimed:
                        await self._idle()
                    failures.reset()
                except (*LOST, *RETRYABLE) as error:
                    log.warning(
                        "effects wait for the database",
                        service=self._service,
                        error=type(error).__name__,
                    )
                    await asyncio.sleep(0.5)
                except Exception as error:  # noqa: BLE001  counted, logged and alerted
                    await asyncio.sleep(failures.record(error))
        finally:
            for call in calls:
                call.cancel()
            if calls:
                await asyncio.wait(calls)

    async def _begin(self, calls: set[asyncio.Task[None]]) -> int:
        """Claim what is due of the kinds whose lane has room, and begin to perform it; returns how many were claimed."""
        claimed = await self._claim()
        self._fail.hit("effect_after_claim")
        for kind, effects in self._groups(claimed):
            calls.add(asyncio.create_task(self._in_lane(kind, effects)))
        return len(claimed)

    async def _in_lane(self, kind: str, claimed: Sequence[Effect]) -> None:
        lane = kind, claimed[0].attempts > 1
        self._under_way[lane] += 1
        try:
            await self._one_kind(kind, claimed)
        finally:
            self._under_way[lane] -= 1
            self._wake.set()

    @staticmethod
    async def _heed(calls: set[asyncio.Task[None]]) -> None:
        """Forget the calls that ended; raises what one of them ended with."""
        await asyncio.sleep(0)  # those just begun count from now on
        ended = [call for call in calls if call.done()]
        calls.difference_update(ended)
        for error in [error for call in ended if (error := call.exception()) is not None]:
            raise error

    async def _idle(self) -> None:
        await wait_for_event(self._wake, POLL_S)
        self._wake.clear()

    async def once(self) -> int:
        """Claim what is due, perform and settle it; returns how many were claimed."""
        claimed = await self._claim()
        self._fail.hit("effect_after_claim")
        ends = await asyncio.gather(
            *(self._one_kind(kind, effects) for kind, effects in self._groups(claimed)),
            return_exceptions=True,
        )
        for end in ends:
            if isinstance(end, BaseException):
                raise end
        return len(claimed)

    @staticmethod
    def _groups(claimed: Sequence[Effect]) -> list[tuple[str, list[Effect]]]:
        """The effects by kind, the new ones by themselves; one that was set aside goes alone."""
        groups: dict[tuple[str, bool, UUID | None], list[Effect]] = {}
        for effect in claimed:
            alone = effect.intent_id if effect.apart else None
            groups.setdefault((effect.kind, effect.attempts > 1, alone), []).append(effect)
        return [(kind, effects) for (kind, _, _), effects in groups.items()]

    async def _claim(self) -> list[Effect]:
        """Claim what is due, of all kinds but those whose lane is full."""
        full = [lane for lane, count in self._under_way.items() if count >= LANE_CALLS]
        async with self._pool.acquire() as conn:
            rows = await conn.fetch(
                "WITH due AS MATERIALIZED (SELECT intent_id FROM effect WHERE next_at <= now() "
                "AND kind <> ALL (CASE WHEN attempts > 0 THEN $4::text[] ELSE $3::text[] END) "
                "ORDER BY next_at LIMIT $1 FOR UPDATE SKIP LOCKED) "
                "UPDATE effect AS e SET attempts = attempts + 1, next_at = now() + make_interval(secs => $2) FROM due "
                "WHERE e.intent_id = due.intent_id RETURNING e.intent_id, e.order_id, e.kind, e.request, e.attempts, "
                "e.intent_id = ANY (ARRAY(SELECT subject::uuid FROM aside WHERE source = 'effect')) AS apart",
                CLAIM_MAX, self._lease_s, [kind for kind, again in full if not again], [kind for kind, again in full if again],
            )  # fmt: skip
        return await self._opened([dict(row) for row in rows])

    async def _opened(self, rows: Sequence[dict[str, Any]]) -> list[Effect]:
        """The effects of these rows with their requests in clear; one that does not open is set aside."""
        opened: list[Effect] = []
        closed: list[tuple[Effect, tuple[str, str]]] = []
        for row in rows:
            try:
                row["request"] = self._sealing.decrypt(row["request"], BOUND)
            except Unsealable as error:
                closed.append((Effect(**row), aside.reason_of(error)))
            else:
                opened.append(Effect(**row))
        await self._set_aside(closed)
        return opened

    async def _one_kind(self, kind: str, claimed: Sequence[Effect]) -> None:
        started = time.perf_counter()
        try:
            async with asyncio.timeout(CALL_S), self._keeping(claimed):
                heard = await self._perform(kind, claimed)
        except (Unavailable, TimeoutError) as error:
            log.warning(
                "outside party does not answer",
                service=self._service,
                kind=kind,
                error=str(error) or "timeout",
            )
            heard = [NoReply(effect) for effect in claimed]
        except Exception as error:
            if aside.is_blameless(error):
                raise
            # One of them is to blame: it is found, and set aside with the reason.
            await self._perform_halves(kind, claimed, error)
            return
        metrics.EFFECT_SECONDS.labels(self._service, kind).observe(time.perf_counter() - started)
        self._fail.hit("effect_after_call")
        answered = [h for h in heard if isinstance(h, Reply)]
        unknown = [h for h in heard if isinstance(h, NoReply)]
        metrics.EFFECTS.labels(self._service, kind, "answered").inc(len(answered))
        metrics.EFFECTS.labels(self._service, kind, "unknown").inc(len(unknown))
        if unknown:
            await self._later(unknown)
        if answered:
            await self._record_or_halve(answered)

    async def _perform_halves(self, kind: str, claimed: Sequence[Effect], error: Exception) -> None:
        """Perform failed. Halve, for what was sent may have been heard: each half is a new attempt under the same keys."""
        if len(claimed) == 1:
            log.error("an instruction cannot be performed", service=self._service, kind=kind, exc_info=error,
                      order_id=str(claimed[0].order_id))  # fmt: skip
            await self._set_aside([(claimed[0], aside.reason_of(error))])
            return
        again = await self._claim_again(claimed)
        half = (len(again) + 1) // 2
        for part in (again[:half], again[half:]):
            if part:
                await self._one_kind(kind, part)

    async def _claim_again(self, claimed: Sequence[Effect]) -> list[Effect]:
        """The effects as a further attempt; without those another has claimed meanwhile."""
        async with self._pool.acquire() as conn:
            rows = await conn.fetch(
                "UPDATE effect AS e SET attempts = e.attempts + 1, next_at = now() + make_interval(secs => $3) "
                "FROM unnest($1::uuid[], $2::int[]) AS u(intent_id, attempts) "
                "WHERE e.intent_id = u.intent_id AND e.attempts = u.attempts RETURNING e.intent_id, e.attempts",
                [e.intent_id for e in claimed], [e.attempts for e in claimed], self._lease_s,
            )  # fmt: skip
        attempts = {row["intent_id"]: row["attempts"] for row in rows}
        return [
            replace(e, attempts=attempts[e.intent_id]) for e in claimed if e.intent_id in attempts
        ]

    async def _set_aside(self, failed: Sequence[tuple[Effect, tuple[str, str]]]) -> None:
        """Note these, and ask none of them before its pause is over."""
        if not failed:
            return
        async with self._pool.acquire() as conn, conn.transaction():
            items = [
                aside.Failed(str(effect.intent_id), effect.order_id, *why) for effect, why in failed
            ]
            waits = await aside.put(conn, self._service, aside.EFFECT, items)
            await put_off(conn, [(effect, waits[str(effect.intent_id)]) for effect, _ in failed])

    @contextlib.asynccontextmanager
    async def _keeping(self, claimed: Sequence[Effect]) -> AsyncIterator[None]:
        """Put the lease off while the call is under way. If that fails, another asks after the same keys: safe, only wasteful."""
        keeping = asyncio.create_task(self._keep(claimed))
        try:
            yield
        finally:
            keeping.cancel()
            await asyncio.wait([keeping])
            if not keeping.cancelled() and (bug := keeping.exception()) is not None:
                raise bug

    async def _keep(self, claimed: Sequence[Effect]) -> None:
        while True:
            await asyncio.sleep(self._lease_s / 3)
            with contextlib.suppress(*LOST, *RETRYABLE):
                async with self._pool.acquire() as conn:
                    await conn.execute(
                        "UPDATE effect AS e SET next_at = now() + make_interval(secs => $3) "
                        "FROM unnest($1::uuid[], $2::int[]) AS u(intent_id, attempts) "
                        "WHERE e.intent_id = u.intent_id AND e.attempts = u.attempts",
                        [e.intent_id for e in claimed], [e.attempts for e in claimed], self._lease_s,
                    )  # fmt: skip

    async def _later(self, unknown: Sequence[NoReply]) -> None:
        async with self._pool.acquire() as conn:
            await put_off(conn, [
                (u.effect, u.retry_s if u.retry_s is not None else backoff_s(u.effect.attempts)) for u in unknown
            ])  # fmt: skip

    async def _record_or_halve(self, answered: Sequence[Reply]) -> None:
        """Settle the answers; one that cannot be settled is set aside, and never stops the others."""
        try:
            await self._record(answered)
        except Exception as error:
            if aside.is_blameless(error):
                # Ask again soon under the same keys: the party repeats its answers, so waiting out the lease gains nothing.
                with contextlib.suppress(*LOST, *RETRYABLE):
                    await self._later([NoReply(a.effect, 0.2) for a in answered])
                raise
            if len(answered) > 1:
                half = len(answered) // 2
                await self._record_or_halve(answered[:half])
                await self._record_or_halve(answered[half:])
                return
            effect = answered[0].effect
            log.exception(
                "an answer cannot be settled",
                service=self._service,
                kind=effect.kind,
                order_id=str(effect.order_id),
            )
            metrics.EFFECTS.labels(self._service, effect.kind, "unsettled").inc()
            await self._set_aside([(effect, aside.reason_of(error))])

    async def _record(self, answered: Sequence[Reply]) -> None:
        async with self._pool.acquire() as conn, conn.transaction():
            rows = await conn.fetch(
                "DELETE FROM effect AS e USING unnest($1::uuid[], $2::int[]) AS u(intent_id, attempts) "
                "WHERE e.intent_id = u.intent_id AND e.attempts = u.attempts RETURNING e.intent_id",
                [a.effect.intent_id for a in answered], [a.effect.attempts for a in answered],
            )  # fmt: skip
            ours = {row["intent_id"] for row in rows}
            outcome = await self._settle(
                conn, [a for a in answered if a.effect.intent_id in ours], self._deps
            )
            if apart := [
                str(a.effect.intent_id)
                for a in answered
                if a.effect.apart and a.effect.intent_id in ours
            ]:
                await aside.clear(conn, aside.EFFECT, apart)
            await self._finish(conn, outcome)
            self._fail.hit("effect_before_commit")
        self._fail.hit("effect_after_commit")
        self._after(outcome)


async def put_off(conn: Connection, waits: Sequence[tuple[Effect, float]]) -> None:
    """Claim each effect again after so many seconds, unless another has claimed it meanwhile."""
    await conn.execute(
        "UPDATE effect AS e SET next_at = now() + make_interval(secs => u.wait) "
        "FROM unnest($1::uuid[], $2::int[], $3::float8[]) AS u(intent_id, attempts, wait) "
        "WHERE e.intent_id = u.intent_id AND e.attempts = u.attempts",
        [e.intent_id for e, _ in waits], [e.attempts for e, _ in waits], [wait for _, wait in waits],
    )  # fmt: skip


def backoff_s(attempts: int, dice: Callable[[], float] = random.random) -> float:
    """Seconds until the next try: 0.2 doubled each time, a minute at most; a fifth more or less, so that not all come at once."""
    return float(min(BACKOFF_MAX_S, 0.1 * 2 ** min(attempts, 12))) * (0.8 + 0.4 * dice())


async def measure(conn: Connection, service: str) -> int:
    """Set the gauges of open instructions; returns their number. What is set aside has a gauge of its own."""
    row = await conn.fetchrow(
        "SELECT count(*) AS open, count(*) FILTER (WHERE attempts > 1) AS unknown, "
        "min(created_at) FILTER (WHERE next_at < now() + interval '2 minutes') AS oldest FROM effect "
        "WHERE intent_id <> ALL (ARRAY(SELECT subject::uuid FROM aside WHERE source = 'effect'))"
    )
    metrics.EFFECTS_OPEN.labels(service).set(row["open"])
    metrics.EFFECTS_UNKNOWN.labels(service).set(row["unknown"])
    metrics.EFFECTS_OLDEST.labels(service).set(row["oldest"].timestamp() if row["oldest"] else 0)
    return int(row["open"])
