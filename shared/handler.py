"""One batch of records, one transaction; and what happens to the one record in it that cannot be handled."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final
from uuid import UUID

import orjson
import structlog

from shared import effects, inbox, metrics, outbox
from shared.clock import utc_now
from shared.database import DATA, OUTDATED, Connection, check_now, is_of_database, is_of_values
from shared.decoding import (
    PartlyReadable,
    UnreadableEntry,
    decode_event,
    replace_messages,
    with_arrival_time,
)
from shared.envelope import Headers, Message, Outgoing, Record, Unread, rfc3339, uuid_or_none
from shared.errors import TooManyGivenUp, Unavailable, Unprocessable
from shared.failpoints import Failpoints
from shared.parties import Parties, once
from shared.sealing import Sealing
from shared.subscriptions import EmittedEvent, Outcome, Source, Subscriptions, fact_with_id
from shared.topics import dead_letters_of
from shared.transitions import IllegalTransition

log = structlog.get_logger(__name__)

CUT_BYTES: Final = 64 * 1024
"""Of a record too large for the dead letters: how much of its value is kept, of its headers, and of its key."""
PARKED: Final = b"parked"
NO_ORDER: Final = UUID(int=0)
"""The order id of a message that is about none."""
UNFORESEEN: Final = ("unexpected", "integrity")
"""Reasons that are no refusal of ours, but a failure nobody foresaw."""
UNFORESEEN_MAX: Final = 20
UNFORESEEN_S: Final = 60.0
"""More records than that are not given up for such reasons in so many seconds: then the fault is no record's, but ours."""
RecordId = tuple[str, int, int]
Found = Sequence[Message] | Unprocessable
"""What a record was read as: its messages, none if it is not for us, or why it cannot be read."""
Read = tuple[Record, Found]


class Handler:
    """Handles the records of one poll for one service.

    A batch that fails is halved until the bad record stands alone; that one goes to the dead letters in the transaction
    that steps over it, and its order is held, so nothing half-done moves on and nobody else waits. A record with entries is
    divided in its turn: the entry that cannot be handled is a dead letter, the others of its record are handled.
    """

    def __init__(
        self, service: str, topic: str, subscriptions: Subscriptions, pool: Any, deps: Any, *, sealing: Sealing,
        after: Callable[[Outcome], None] = Outcome.count, failpoints: Failpoints | None = None, orders_at_once: int = 5000,
        parties: Parties | None = None,
    ) -> None:  # fmt: skip
        """`orders_at_once`: how many orders one transaction locks at most, as long as no single record is about more."""
        self.service = service
        self.topic = topic
        self.subscriptions = subscriptions
        self.sources = subscriptions.sources
        self.pool = pool
        self.deps = deps
        self._orders_at_once = orders_at_once
        self._sealing = sealing
        self._after = after
        self._fail = failpoints or Failpoints()
        self.parties = parties or Parties()
        self._wanted = {
            topic: {kind.type.encode(): kind for kind in types}
            for topic, types in subscriptions.event_types.items()
        }

    async def handle(self, records: Sequence[Record]) -> None:
        """Handle the records, in order, each partition's without a hole.

        Raises inbox.Fenced if the offsets stand elsewhere, and Unavailable or any error of the database that does not speak
        of the values themselves: a full disk or lock table, a lost connection, a table of another release is no record's fault.
        Whatever part was committed by then is found by the offsets. Raises TooManyGivenUp where so many fail that it is ours.
        """
        for portion in portions([(r, self.decode(r)) for r in records], self._orders_at_once):
            await self._divide(portion)

    async def _divide(self, read: Sequence[Read], *, apart: bool = False) -> None:
        try:
            await self._transact(read, apart=apart)
        except Exception as error:
            if not may_be_the_records(error) and not (
                isinstance(error, TooManyGivenUp) and len(read) > 1
            ):
                raise
            if len(read) > 1:
                half = len(read) // 2
                await self._divide(read[:half])
                await self._divide(read[half:])
                return
            record, found = read[0]
            if isinstance(found, Unprocessable):
                raise  # even the dead letter could not be written: this is ours, not the record's
            if (
                not apart
                and self.sources[record.topic].alone is not None
                and (len(found) > 1 or type(found) is PartlyReadable)
            ):
                await self._divide(read, apart=True)
                return
            await self._transact([(record, self.to_unprocessable(record, error))])

    def committed(self, outcome: Outcome) -> None:
        """A transaction beside the batches is committed: what follows from it is under way."""
        self._after(outcome)

    def to_unprocessable(self, record: Record, error: Exception) -> Unprocessable:
        """Why the record is given up; what nobody foresaw is in the log with its trace."""
        if not isinstance(error, Unprocessable | IllegalTransition):
            log.error(
                "a record failed for a reason nobody foresaw",
                service=self.service,
                topic=record.topic,
                exc_info=error,
            )
        return as_unprocessable(error)

    def holds(self, record: Record) -> set[UUID]:
        """The order that is held if this record cannot be handled; none for a record from outside, which says nothing of one."""
        order_id = uuid_or_none(record.key)
        return set() if order_id is None or self.sources[record.topic].intake else {order_id}

    def rest(self, record: Record) -> bytes:
        """The record sealed, to wait in a table."""
        return self._sealing.rest(pack_record(record), PARKED)

    def decrypt(self, packed: bytes) -> Record:
        return unpack_record(self._sealing.decrypt(packed, PARKED))

    def decode(self, record: Record, *, trusted: bool = False) -> Found:
        """What the service makes of a record. `trusted`: an operator says it, so no party's signature is asked for."""
        if type(record.value) is Unread:
            return Unprocessable("too_large", record.value.why)
        source = self.sources[record.topic]
        try:
            if source.decode is not None:
                found = source.decode(record)
                if source.speaks_for is not None and not trusted:
                    found = self._as_signed(record, source, found)
                return (
                    with_arrival_time(found, record.timestamp_ms, int(time.time() * 1000))
                    if source.intake
                    else found
                )
            return decode_event(record, self._wanted[record.topic])
        except Unprocessable as refused:
            return refused
        except Exception as bug:
            if not may_be_the_records(bug):
                raise
            return self.to_unprocessable(
                record, bug
            )  # the one record is given up, with the trace in the log

    def _as_signed(
        self, record: Record, source: Source, found: Sequence[Message]
    ) -> Sequence[Message]:
        """What a record says, of a bound party only what it signed; raises Unprocessable, `signature`, where it did not."""
        assert source.speaks_for is not None
        assert source.decode is not None
        if not self.parties.require(
            record, {code for m in found if (code := source.speaks_for(m.event)) is not None}
        ):
            return found
        if uuid_or_none(record.key) is not None:  # a key that may name an order
            found = source.decode(replace(record, key=None))
        if not any(isinstance(m.event, source.once) for m in found):
            return found
        return replace_messages(found, once(record, found, for_good=source.for_good))

    async def _transact(self, read: Sequence[Read], *, apart: bool = False) -> None:
        try:
            await self._transact_once(read, apart=apart)
        except OUTDATED as error:
            log.info(
                "a table was changed, the batch is tried with new plans",
                service=self.service,
                error=type(error).__name__,
            )
            await self._transact_once(read, apart=apart)

    async def _transact_once(self, read: Sequence[Read], *, apart: bool) -> None:
        started = time.perf_counter()
        batch = _Batch(self, read)
        async with self.pool.acquire() as conn, conn.transaction():
            await inbox.advance(conn, moves(record for record, _ in read))
            self._fail.hit("after_offsets")
            outcome = await (batch.run_entries(conn) if apart else batch.run(conn))
            self._fail.hit("before_commit")
        self._fail.hit("after_commit")
        batch.count(time.perf_counter() - started)
        self._after(outcome)


class _Batch:
    """The records of one transaction on their way through it."""

    def __init__(self, handler: Handler, read: Sequence[Read]) -> None:
        self._h = handler
        self._size = len(read)
        self._outcomes: Counter[tuple[str, str, str]] = Counter()
        self._heard: set[UUID] = set()
        # A third of what a service reads is not for it: such a record moves the offset and is counted, no more.
        self._told = [each for each in read if each[1]]
        self._refused = [
            (record, found) for record, found in self._told if isinstance(found, Unprocessable)
        ]
        self._unreadable = [
            (record, each)
            for record, found in self._told
            if type(found) is PartlyReadable
            for each in found.unreadable
        ]
        if len(self._told) < self._size:
            self._outcomes.update(
                (record.topic, "", "ignored") for record, found in read if not found
            )

    async def run(self, conn: Connection) -> Outcome:
        messages = [
            m for _, found in self._told if not isinstance(found, Unprocessable) for m in found
        ]
        await self._lock(conn, messages)
        outcome = await self._react(conn, await self._park_held(conn, messages))
        await self._settle(conn, outcome)
        await self._write(conn, outcome)
        return outcome

    async def _settle(self, conn: Connection, outcome: Outcome) -> None:
        """What cannot be read is given up."""
        for record, refused in self._refused:
            await self._give_up(conn, outcome, record, refused)
        for record, unreadable in self._unreadable:
            await self._give_up_entry(conn, outcome, record, unreadable)

    async def run_entries(self, conn: Connection) -> Outcome:
        """The entries of a record, one of which cannot be handled: that one is given up, the others are handled."""
        record, found = self._told[0]
        assert not isinstance(found, Unprocessable), "what cannot be read is given up before"
        await self._lock(conn, found)
        outcome, letters = Outcome(), Outcome()
        failed = await self._try_entries(conn, record, found, outcome)
        await self._settle(conn, letters)
        for each in failed:
            await self._give_up_entry(conn, letters, record, each)
        await self._write(conn, letters)
        outcome.extend(letters)
        return outcome

    async def _try_entries(
        self, conn: Connection, record: Record, messages: Sequence[Message], outcome: Outcome
    ) -> list[UnreadableEntry]:
        """Handle these entries, in halves where that fails; returns those that cannot be."""
        refused = await self._try(conn, record, messages, outcome)
        if refused is None:
            return []
        if len(messages) == 1:
            return [UnreadableEntry(messages[0].entry, refused)]
        half = len(messages) // 2
        first = await self._try_entries(conn, record, messages[:half], outcome)
        return first + await self._try_entries(conn, record, messages[half:], outcome)

    async def _try_parked(
        self, conn: Connection, record: Record, outcome: Outcome
    ) -> Unprocessable | None:
        found = self._h.decode(record)
        return (
            found
            if isinstance(found, Unprocessable)
            else await self._try(conn, record, found, outcome)
        )

    async def _try(
        self, conn: Connection, record: Record, messages: Sequence[Message], outcome: Outcome
    ) -> Unprocessable | None:
        """Handle these messages of a record; why they cannot be handled, and nothing of them stays then."""
        counted = self._outcomes.copy()
        try:
            async with conn.transaction():
                followed = await self._react(conn, list(messages))
                await self._write(conn, followed)
                await check_now(conn)
        except Exception as error:
            if not may_be_the_records(error):
                raise
            self._outcomes = counted  # what is not foreseen is in the log with its trace
            return self._h.to_unprocessable(record, error)
        outcome.extend(followed)
        return None

    async def _lock(self, conn: Connection, messages: Sequence[Message]) -> None:
        held = {order_id for record, _ in self._refused for order_id in self._h.holds(record)}
        await inbox.lock_orders(
            conn, self._h.service, {*held, *(m.order_id for m in messages)} - {NO_ORDER}
        )

    async def _react(self, conn: Connection, messages: list[Message]) -> Outcome:
        fresh = await self._drop_seen(conn, messages)
        self._h._fail.hit("after_inbox")
        outcome = Outcome()
        for handler, group in self._h.subscriptions.by_handler(fresh):
            outcome.extend(await handler(conn, group, self._h.deps))
        self._outcomes.update((m.topic, m.type, "ok") for m in fresh)
        self._heard.update(m.event_id for m in fresh)
        return outcome

    async def _give_up(
        self, conn: Connection, outcome: Outcome, record: Record, refused: Unprocessable
    ) -> None:
        outcome.records.append(await self._dead_letter(conn, record, refused))
        outcome.after_commit.append(
            metrics.DEAD_LETTERS.labels(self._h.service, record.topic, refused.reason).inc
        )

    async def _give_up_entry(
        self, conn: Connection, outcome: Outcome, record: Record, failed: UnreadableEntry
    ) -> None:
        """One entry is a dead letter: a record with nothing but it, so that its replay brings no other with it."""
        alone = self._h.sources[record.topic].alone
        assert alone is not None, (
            "only a topic whose records have entries tells which of them are unreadable"
        )
        value = alone(record.value or b"", failed.entry)
        refused = Unprocessable(failed.why.reason, f"entry {failed.entry}: {failed.why}")
        outcome.records.append(
            await self._dead_letter(conn, replace(record, value=value), refused, failed.entry)
        )
        outcome.after_commit.append(
            metrics.DEAD_LETTERS.labels(self._h.service, record.topic, refused.reason).inc
        )

    async def _write(self, conn: Connection, outcome: Outcome) -> None:
        self._h._fail.hit("after_reaction")
        await write(conn, self._h.service, self._h.topic, outcome, self._h._sealing, self._heard)

    async def _park_held(self, conn: Connection, messages: list[Message]) -> list[Message]:
        """The messages to handle now: those of held orders are parked."""
        sources = self._h.sources
        internal = {m.order_id for m in messages if not sources[m.topic].intake}
        internal |= {order_id for record, _ in self._refused for order_id in self._h.holds(record)}
        held = await inbox.held_among(conn, internal) if internal else set()
        if not held and not any(self._h.holds(record) for record, _ in self._refused):
            return messages
        return await self._route(conn, held)

    async def _route(self, conn: Connection, held: set[UUID]) -> list[Message]:
        messages: list[Message] = []
        park: list[tuple[UUID, bytes]] = []
        refused: list[tuple[Record, Unprocessable]] = []
        for record, found in self._told:
            order_ids = (
                self._h.holds(record)
                if isinstance(found, Unprocessable)
                else {m.order_id for m in found}
            )
            if order_ids & held and not self._h.sources[record.topic].intake:
                # A bad one too: an order is held by one record at a time, and goes on in its order when that is settled.
                park += [(order_id, self._h.rest(record)) for order_id in order_ids & held]
                event_type = "" if isinstance(found, Unprocessable) else found[0].type
                self._outcomes[record.topic, event_type, "parked"] += 1
            elif isinstance(found, Unprocessable):
                # What comes behind a bad record of the same order waits for it, in this very batch already.
                held |= order_ids
                refused.append((record, found))
            else:
                messages += found
        self._refused = refused
        if park:
            await inbox.park(conn, park)
        return messages

    async def _drop_seen(self, conn: Connection, messages: list[Message]) -> list[Message]:
        # What outsiders say twice is no error of the database; a fact comes again only after a crash, and COPY costs less.
        by_origin: dict[bool, list[inbox.Content]] = {False: [], True: []}
        for_good: list[inbox.Content] = []
        # A receipt speaks of 100 lists, each a message with the whole record: its bytes are digested once.
        digests: dict[tuple[str, int], int] = {}
        for m in messages:
            content = m.type, id(m.value)
            digest = digests.get(content)
            if digest is None:
                digest = digests[content] = inbox.digest_of(m.type, m.value)
            (for_good if m.once else by_origin[self._h.sources[m.topic].intake]).append(
                (m.event_id, digest)
            )
        try:
            unseen = await inbox.unseen(conn, by_origin[False]) | await inbox.unseen(
                conn, by_origin[True], repeats=True
            )
        except inbox.Reused as reused:
            raise _reused(reused, "came before") from None
        unseen |= await inbox.unseen_for_good(conn, for_good)
        if len(unseen) == len(messages):
            return messages
        fresh: list[Message] = []
        for m in messages:
            if m.event_id in unseen:
                unseen.discard(m.event_id)
                fresh.append(m)
            else:
                self._outcomes[m.topic, m.type, "duplicate"] += 1
        return fresh

    async def _dead_letter(
        self, conn: Connection, record: Record, refused: Unprocessable, entry: int = 0
    ) -> Outgoing:
        self._outcomes[record.topic, "", "dead-letter"] += 1
        order_id = next(iter(self._h.holds(record)), None)
        kept = None if order_id is None else self._h.rest(record)
        letter = inbox.Letter(
            *place(record), refused.reason, order_id, kept, error=str(refused)[:500], entry=entry
        )
        await inbox.note_dead_letter(conn, letter)
        await self._require_few(conn, refused)
        log.error("record given up", service=self._h.service, topic=record.topic, partition=record.partition,
                  offset=record.offset, reason=refused.reason, error=str(refused)[:300])  # fmt: skip
        if order_id is not None:
            await inbox.hold(conn, order_id, refused.reason)
        return dead_letter(self._h.service, record, refused, entry=entry)

    async def _require_few(self, conn: Connection, refused: Unprocessable) -> None:
        """Raise TooManyGivenUp if this one is more than may be given up in a minute; counted where a new process finds it."""
        if refused.reason not in UNFORESEEN:
            return
        count = await inbox.given_up_within(conn, UNFORESEEN_S, UNFORESEEN)
        if count > UNFORESEEN_MAX:
            raise TooManyGivenUp(
                f"look for the trace in the log of {self._h.service}: more than {UNFORESEEN_MAX} records failed within "
                f"{UNFORESEEN_S:.0f} s for reasons nobody foresaw, the last one with {refused}; the next is not given up"
            )

    def count(self, seconds: float) -> None:
        service = self._h.service
        metrics.PROCESSING.labels(service).observe(seconds)
        metrics.BATCH_RECORDS.labels(service).observe(self._size)
        self.count_events()

    def count_events(self) -> None:
        service = self._h.service
        for (topic, event_type, outcome), count in self._outcomes.items():
            metrics.EVENTS.labels(service, topic, event_type, outcome).inc(count)


async def write(
    conn: Connection,
    service: str,
    topic: str,
    outcome: Outcome,
    sealing: Sealing,
    heard: Collection[UUID] = (),
) -> None:
    """Put what was decided into the outbox and the effects, in the caller's transaction.

    `heard`: the messages handled in it. Raises Unprocessable for a fact whose id another one has.
    """
    at = rfc3339(utc_now())
    facts = [fact_with_id(service, topic, fact, at) for fact in outcome.facts]
    try:
        await inbox.claim(conn, _claims(outcome.facts, facts, heard))
    except inbox.Reused as reused:
        raise said_before(reused) from None
    await outbox.append(conn, sealing, [*(record for _, record in facts), *outcome.records])
    await effects.instruct(conn, sealing, outcome.commands)


def portions(read: Sequence[Read], most: int) -> Iterator[Sequence[Read]]:
    """The records in runs of at most `most` messages each, since each may lock an order; one record of more stands alone."""
    begin, room = 0, most
    for at, (_, found) in enumerate(read):
        count = 0 if isinstance(found, Unprocessable) else len(found)
        if count > room and at > begin:
            yield read[begin:at]
            begin, room = at, most
        room -= count
    if begin < len(read):
        yield read[begin:]


def may_be_the_records(error: Exception) -> bool:
    """Whether a failure may be the record's own: a refusal, a value the database refuses, an error of decoding or reacting."""
    if isinstance(error, inbox.Fenced | Unavailable | TooManyGivenUp | MemoryError):
        return False
    return is_of_values(error) or not is_of_database(error)


def _claims(
    facts: Sequence[EmittedEvent], made: Sequence[tuple[UUID, Outgoing]], heard: Collection[UUID]
) -> list[inbox.Content]:
    """The facts whose ids are to be noted: a message is handled once, so what follows from one and differs in type repeats no id.

    What timers, answers and persons lead to has causes of our own making; and of two facts under one id both are looked at.
    """
    if len({event_id for event_id, _ in made}) < len(made):
        heard = ()
    return [
        content_of(fact, *each)
        for fact, each in zip(facts, made, strict=True)
        if fact.cause not in heard
    ]


def content_of(fact: EmittedEvent, event_id: UUID, record: Outgoing) -> inbox.Content:
    return event_id, inbox.digest_of(fact.event.type, record.value)


def said_before(reused: inbox.Reused) -> Unprocessable:
    """Facts cannot be announced: another was announced under the same id."""
    return _reused(reused, "was said before")


def _reused(reused: inbox.Reused, when: str) -> Unprocessable:
    return Unprocessable(
        "id_reused",
        f"give each fact an id of its own: {', '.join(map(str, sorted(reused.event_ids)[:3]))} {when} with other content",
    )


def place(record: Record) -> RecordId:
    return record.topic, record.partition, record.offset


def moves(records: Iterable[Record]) -> dict[inbox.Partition, tuple[int, int]]:
    """Per partition: the first offset of the batch, and the one behind its last."""
    found: dict[inbox.Partition, tuple[int, int]] = {}
    for r in records:
        first = found.get((r.topic, r.partition), (r.offset, 0))[0]
        found[r.topic, r.partition] = (first, r.offset + 1)
    return found


def as_unprocessable(error: Exception) -> Unprocessable:
    if isinstance(error, Unprocessable):
        return error
    if isinstance(error, IllegalTransition):
        return Unprocessable("illegal_transition", str(error))
    if isinstance(error, DATA):
        # The server's message may quote the values; the constraint and column names say enough.
        named = [
            getattr(error, name, None) for name in ("constraint_name", "table_name", "column_name")
        ]
        return Unprocessable(
            "integrity",
            f"{type(error).__name__}: {' '.join(n for n in named if n) or 'refused by the database'}",
        )
    return Unprocessable("unexpected", type(error).__name__)


def dead_letter(
    service: str, record: Record, refused: Unprocessable, attempts: int = 1, entry: int = 0
) -> Outgoing:
    """The dead letter of a record: its own bytes and headers, and where it came from and why. `entry`: of that one entry of it.

    One that its topic would not take has the beginning of them: a record that came compressed may be of any size. So has what
    stands in the place of a batch: it is none of the records.
    """
    origin = (
        ("dlq_reason", refused.reason.encode()), ("dlq_error", str(refused)[:500].encode()), ("dlq_service", service.encode()),
        ("dlq_topic", record.topic.encode()), ("dlq_partition", str(record.partition).encode()),
        ("dlq_offset", str(record.offset).encode()), ("dlq_attempts", str(attempts).encode()),
        ("dlq_at", utc_now().isoformat(timespec="milliseconds").encode()),
        *((("dlq_entry", str(entry).encode()),) if entry else ()),
    )  # fmt: skip
    kept = tuple((name, value) for name, value in record.headers if not name.startswith("dlq_"))
    whole = Outgoing(
        dead_letters_of(record.topic),
        record.key or b"",
        record.value or b"",
        (*kept, *origin),
        sealed=True,
    )
    return (
        whole
        if outbox.fits(whole) and type(record.value) is not Unread
        else _cut(whole, kept, origin)
    )


def _cut(whole: Outgoing, kept: Headers, origin: Headers) -> Outgoing:
    """The beginning of a dead letter, and how much there was; the record itself lies where it came from."""
    room, few = CUT_BYTES, []
    for name, value in kept:
        room -= len(name.encode()) + len(value or b"")
        if room < 0:
            break
        few.append((name, value))
    cut = (
        ("dlq_bytes", str(len(whole.value)).encode()),
        ("dlq_sha256", hashlib.sha256(whole.value).hexdigest().encode()),
    )
    return whole._replace(
        key=whole.key[:CUT_BYTES], value=whole.value[:CUT_BYTES], headers=(*few, *origin, *cut)
    )


def pack_record(record: Record) -> bytes:
    head = [
        record.topic,
        record.partition,
        record.offset,
        record.timestamp_ms,
        (record.key or b"").decode("latin-1"),
    ]
    return orjson.dumps(
        [
            head,
            (record.value or b"").decode("latin-1"),
            outbox.pack_headers(record.headers).decode(),
        ]
    )


def unpack_record(packed: bytes) -> Record:
    (topic, partition, offset, timestamp_ms, key), value, headers = orjson.loads(packed)
    return Record(topic, partition, offset, timestamp_ms, key.encode("latin-1"), value.encode("latin-1"),
                  tuple(outbox.unpack_headers(headers.encode())))  # fmt: skip
