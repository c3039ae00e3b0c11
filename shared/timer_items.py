"""The items of a timer, one by one: an item that fails is set aside, and the others are done."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar
from uuid import UUID

import structlog

from shared import aside, inbox, outbox
from shared.clock import utc_now
from shared.database import Connection, check_now
from shared.envelope import rfc3339
from shared.identity import event_id_of
from shared.outcomes import id_in_use
from shared.subscriptions import EmittedEvent, Outcome, fact_with_id
from shared.topics import MESSAGE_BYTES_MAX

log = structlog.get_logger(__name__)

T = TypeVar("T")
Later = Callable[[T, float], Awaitable[None]]
"""Lets an item that was set aside wait, for so many seconds."""


class Subject(NamedTuple):
    """The name of an item in the table `aside`, and its order."""

    subject: str
    order_id: UUID | None = None


def of_order(order_id: UUID) -> Subject:
    """Return the subject of an item that is an order."""
    return Subject(str(order_id), order_id)


@dataclass(frozen=True)
class Items(Generic[T]):
    """The items of one timer: its service, its name, and how to name an item.

    Items are independent of each other. A timer must not select an item before the `retry_at` of
    its row in `aside`. Its query leaves such rows out, or `later` lets the item itself wait.
    """

    service: str
    timer: str
    subject_of: Callable[[T], Subject]

    async def each(
        self,
        conn: Connection,
        items: Sequence[T],
        act: Callable[[Sequence[T]], Awaitable[Outcome]],
        later: Later[T] | None = None,
    ) -> Outcome:
        """Act on the items, together if possible, in savepoints of the caller's transaction.

        If acting fails, the items are halved until the bad one is alone. That one is set aside, and
        its changes are undone. An item set aside before is tried alone. Raises an error that is no
        item's fault.
        """
        if not items:
            return Outcome()
        suspects = await aside.set_aside_subjects(
            conn, self.timer, [self.subject_of(item).subject for item in items]
        )
        turn = _Turn(conn, act)
        outcome = await self._halve(
            turn, [i for i in items if self.subject_of(i).subject not in suspects], later
        )
        for item in items:
            subject = self.subject_of(item).subject
            if subject not in suspects:
                continue
            tried = await turn.attempt([item])
            if isinstance(tried, Outcome):
                await aside.clear(conn, self.timer, [subject])
                outcome.extend(tried)
            else:
                await self._set_aside(conn, item, tried, later)
        return outcome

    async def _halve(self, turn: _Turn[T], items: Sequence[T], later: Later[T] | None) -> Outcome:
        if not items:
            return Outcome()
        tried = await turn.attempt(items)
        if isinstance(tried, Outcome):
            return tried
        if len(items) == 1:
            await self._set_aside(turn.conn, items[0], tried, later)
            return Outcome()
        half = len(items) // 2
        outcome = await self._halve(turn, items[:half], later)
        outcome.extend(await self._halve(turn, items[half:], later))
        return outcome

    async def _set_aside(
        self, conn: Connection, item: T, error: Exception, later: Later[T] | None
    ) -> None:
        log.error(
            "a timer cannot do one item", service=self.service, timer=self.timer, exc_info=error
        )
        subject = self.subject_of(item)
        waits = await aside.put(conn, self.service, self.timer, [aside.failed(*subject, error)])
        if later is not None:
            await later(item, waits[subject.subject])


def _content_of(fact: EmittedEvent) -> inbox.Content:
    """Return the event's id and digest. Raises Unprocessable if its topic cannot take it."""
    event = fact.event
    value = event.to_json()
    if (
        len(value) > MESSAGE_BYTES_MAX // 4
    ):  # nearly all are smaller and need no record to be measured
        outbox.refuse_unfit([fact_with_id("", "", fact, rfc3339(utc_now()))[1]])
    return event_id_of(fact.cause, event.type, event.order_id), inbox.digest_of(event.type, value)


class _Turn(Generic[T]):
    """One turn of a timer: its attempts, and the events it is going to publish."""

    def __init__(self, conn: Connection, act: Callable[[Sequence[T]], Awaitable[Outcome]]) -> None:
        self.conn = conn
        self._act = act
        self._said: dict[UUID, int] = {}

    async def attempt(self, items: Sequence[T]) -> Outcome | Exception:
        """Return what follows from these items, or their error, with all their changes undone.

        Raises an error that is no item's fault.
        """
        try:
            async with self.conn.transaction():
                outcome = await self._act(items)
                facts = await self._fit(outcome)
                await check_now(self.conn)
        except Exception as error:
            if aside.is_blameless(error):
                raise
            return error
        self._said |= facts
        return outcome

    async def _fit(self, outcome: Outcome) -> dict[UUID, int]:
        """Return ids and digests of the events.

        Raises Unprocessable here for what would be refused later, while the guilty item is still
        known.
        """
        facts = [_content_of(fact) for fact in outcome.facts]
        outbox.refuse_unfit(outcome.records)
        found = dict(facts)
        if other := {
            i for i, digest in facts if digest != found[i] or digest != self._said.get(i, digest)
        }:
            raise id_in_use(inbox.Reused(other))
        try:
            await inbox.require_unsaid(self.conn, facts)
        except inbox.Reused as reused:
            raise id_in_use(reused) from None
        return found
