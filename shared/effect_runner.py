"""Sends commands to outside parties in bulk, and records their replies."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from shared import aside, metrics
from shared.database import LOST, RETRYABLE, Connection
from shared.effects import (
    BOUND,
    LEASE_S,
    Effect,
    NoReply,
    RecordReplies,
    Reply,
    Send,
    backoff_s,
    claim_again,
    claim_due,
    group_by_kind,
    log,
    put_off,
)
from shared.errors import Unavailable
from shared.failpoints import Failpoints
from shared.loop_failures import LoopFailures
from shared.sealing import Sealing, Unsealable
from shared.subscriptions import Outcome
from shared.tasks import wait_for_event

CLAIM_MAX: Final = 800
LANE_CALLS: Final = 2
"""The most simultaneous calls of one kind for new effects, and as many for repeated effects.

So slow repetitions do not delay new effects.
"""
CALL_S: Final = 25.0
"""Seconds that an outside party may take for all effects of one call."""
POLL_S: Final = 0.1


class EffectRunner:
    """Claims due effects, sends them in bulk by kind, and records the replies."""

    def __init__(
        self,
        service: str,
        pool: Any,
        deps: Any,
        send: Send,
        record_replies: RecordReplies,
        finish: Callable[[Connection, Outcome], Awaitable[None]],
        after: Callable[[Outcome], None],
        *,
        sealing: Sealing,
        failpoints: Failpoints | None = None,
        lease_s: float = LEASE_S,
    ) -> None:
        """`finish`: writes an outcome in the transaction; `after`: runs after the commit."""
        self._lease_s = lease_s
        self._service = service
        self._pool = pool
        self._deps = deps
        self._send = send
        self._record_replies = record_replies
        self._finish = finish
        self._after = after
        self._sealing = sealing
        self._fail = failpoints or Failpoints()
        self._wake = asyncio.Event()
        self._under_way: Counter[tuple[str, bool]] = Counter()

    def wake(self) -> None:
        """Look for due effects at once: this process has committed commands."""
        self._wake.set()

    async def run(self) -> None:
        """Send due effects until cancelled. Log unforeseen errors, and go on after a growing pause.

        Each kind has a lane of its own, so a slow kind does not delay the others.
        """
        failures = LoopFailures(self._service, "effects")
        calls: set[asyncio.Task[None]] = set()
        try:
            while True:
                try:
                    claimed = await self._begin(calls)
                    await self._drop_ended(calls)
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
        claimed = await self._claim()
        self._fail.hit("effect_after_claim")
        for kind, effects in group_by_kind(claimed):
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
    async def _drop_ended(calls: set[asyncio.Task[None]]) -> None:
        """Drop the calls that ended. Raises the error of a call that failed."""
        await asyncio.sleep(0)  # lets the new calls begin, so that their lanes count them
        ended = [call for call in calls if call.done()]
        calls.difference_update(ended)
        for error in [error for call in ended if (error := call.exception()) is not None]:
            raise error

    async def _idle(self) -> None:
        await wait_for_event(self._wake, POLL_S)
        self._wake.clear()

    async def once(self) -> int:
        """Claim and send the due effects, and record the replies. Return the number of effects."""
        claimed = await self._claim()
        self._fail.hit("effect_after_claim")
        ends = await asyncio.gather(
            *(self._one_kind(kind, effects) for kind, effects in group_by_kind(claimed)),
            return_exceptions=True,
        )
        for end in ends:
            if isinstance(end, BaseException):
                raise end
        return len(claimed)

    async def _claim(self) -> list[Effect]:
        full = [lane for lane, count in self._under_way.items() if count >= LANE_CALLS]
        async with self._pool.acquire() as conn:
            rows = await claim_due(conn, CLAIM_MAX, self._lease_s, full)
        return await self._decrypted([dict(row) for row in rows])

    async def _decrypted(self, rows: Sequence[dict[str, Any]]) -> list[Effect]:
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
            async with asyncio.timeout(CALL_S), self._leased(claimed):
                replies = await self._send(kind, claimed)
        except (Unavailable, TimeoutError) as error:
            log.warning(
                "outside party does not answer",
                service=self._service,
                kind=kind,
                error=str(error) or "timeout",
            )
            replies = [NoReply(effect) for effect in claimed]
        except Exception as error:
            if aside.is_blameless(error):
                raise
            # One effect is the cause. Halving finds this effect, and sets aside no other.
            await self._send_halves(kind, claimed, error)
            return
        metrics.EFFECT_SECONDS.labels(self._service, kind).observe(time.perf_counter() - started)
        self._fail.hit("effect_after_call")
        answered = [r for r in replies if isinstance(r, Reply)]
        unknown = [r for r in replies if isinstance(r, NoReply)]
        metrics.EFFECTS.labels(self._service, kind, "answered").inc(len(answered))
        metrics.EFFECTS.labels(self._service, kind, "unknown").inc(len(unknown))
        if unknown:
            await self._later(unknown)
        if answered:
            await self._record_or_halve(answered)

    async def _send_halves(self, kind: str, claimed: Sequence[Effect], error: Exception) -> None:
        """Send each half as a new attempt.

        The keys stay the same, since the party may know them already.
        """
        if len(claimed) == 1:
            log.error(
                "an instruction cannot be performed",
                service=self._service,
                kind=kind,
                exc_info=error,
                order_id=str(claimed[0].order_id),
            )
            await self._set_aside([(claimed[0], aside.reason_of(error))])
            return
        again = await self._claim_again(claimed)
        half = (len(again) + 1) // 2
        for part in (again[:half], again[half:]):
            if part:
                await self._one_kind(kind, part)

    async def _claim_again(self, claimed: Sequence[Effect]) -> list[Effect]:
        async with self._pool.acquire() as conn:
            attempts = await claim_again(conn, claimed, self._lease_s)
        return [
            replace(e, attempts=attempts[e.intent_id]) for e in claimed if e.intent_id in attempts
        ]

    async def _set_aside(self, failed: Sequence[tuple[Effect, tuple[str, str]]]) -> None:
        if not failed:
            return
        async with self._pool.acquire() as conn, conn.transaction():
            items = [
                aside.Failed(str(effect.intent_id), effect.order_id, *why) for effect, why in failed
            ]
            waits = await aside.put(conn, self._service, aside.EFFECT, items)
            await put_off(conn, [(effect, waits[str(effect.intent_id)]) for effect, _ in failed])

    @contextlib.asynccontextmanager
    async def _leased(self, claimed: Sequence[Effect]) -> AsyncIterator[None]:
        """Renew the lease during the call.

        If the renewal fails, another process sends the same keys: this is safe, only wasteful.
        """
        renewal = asyncio.create_task(self._renew(claimed))
        try:
            yield
        finally:
            renewal.cancel()
            await asyncio.wait([renewal])
            if not renewal.cancelled() and (bug := renewal.exception()) is not None:
                raise bug

    async def _renew(self, claimed: Sequence[Effect]) -> None:
        while True:
            await asyncio.sleep(self._lease_s / 3)
            with contextlib.suppress(*LOST, *RETRYABLE):
                async with self._pool.acquire() as conn:
                    await put_off(conn, [(e, self._lease_s) for e in claimed])

    async def _later(self, unknown: Sequence[NoReply]) -> None:
        async with self._pool.acquire() as conn:
            await put_off(
                conn,
                [
                    (u.effect, u.retry_s if u.retry_s is not None else backoff_s(u.effect.attempts))
                    for u in unknown
                ],
            )

    async def _record_or_halve(self, answered: Sequence[Reply]) -> None:
        """Record the replies. Set aside a reply that cannot be recorded; the others go on."""
        try:
            await self._record(answered)
        except Exception as error:
            if aside.is_blameless(error):
                # They are soon sent again under the same keys. The party repeats its replies.
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
                "DELETE FROM effect AS e USING unnest($1::uuid[], $2::int[]) AS u(intent_id, "
                "attempts) "
                "WHERE e.intent_id = u.intent_id AND e.attempts = u.attempts RETURNING e.intent_id",
                [a.effect.intent_id for a in answered],
                [a.effect.attempts for a in answered],
            )
            ours = {row["intent_id"] for row in rows}
            outcome = await self._record_replies(
                conn, [a for a in answered if a.effect.intent_id in ours], self._deps
            )
            if set_aside := [
                str(a.effect.intent_id)
                for a in answered
                if a.effect.alone and a.effect.intent_id in ours
            ]:
                await aside.clear(conn, aside.EFFECT, set_aside)
            await self._finish(conn, outcome)
            self._fail.hit("effect_before_commit")
        self._fail.hit("effect_after_commit")
        self._after(outcome)
