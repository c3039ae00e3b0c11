"""The dead letters of a service: records given up, and neither replayed nor dropped yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from shared.database import Connection


@dataclass(frozen=True)
class Letter:
    """A record that was given up, as the database stores it.

    `record`: the packed bytes, only of a record that holds its order. `sealed`: whether these bytes
    are encrypted.
    """

    topic: str
    partition: int
    offset: int
    reason: str
    order_id: UUID | None = None
    record: bytes | None = None
    sealed: bool = True
    attempts: int = 1
    error: str | None = None
    entry: int = 0
    """The number of the one entry that was given up, from 1; 0 means the whole record."""

    @property
    def place(self) -> tuple[str, int, int]:
        """Return the topic, partition and offset of the record."""
        return self.topic, self.partition, self.offset


async def note_dead_letter(conn: Connection, letter: Letter) -> None:
    """Store the letter until its replay is handled or an operator drops it."""
    await conn.execute(
        "INSERT INTO dead_letter (topic, part, at_offset, reason, order_id, record, sealed, error, "
        "entry) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
        *letter.place,
        letter.reason,
        letter.order_id,
        letter.record,
        letter.sealed,
        letter.error,
        letter.entry,
    )


async def given_up_within(conn: Connection, seconds: float, reasons: Sequence[str]) -> int:
    """Return how many records were given up for these reasons within the last `seconds`.

    Records that were replayed or dropped since then are not counted.
    """
    count: int = await conn.fetchval(
        "SELECT count(*) FROM dead_letter WHERE reason = ANY($2::text[]) AND at > "
        "clock_timestamp() - make_interval(secs => $1)",
        seconds,
        list(reasons),
    )
    return count


async def open_letters(
    conn: Connection, *, place: tuple[str, int, int] | None = None, order_id: UUID | None = None
) -> list[Letter]:
    """Lock and return the letters at this place, and the letters that hold this order.

    `place`: topic, partition and offset. Letters of single entries at this place are left out.
    """
    topic, part, offset = place or (None, None, None)
    rows = await conn.fetch(
        "SELECT topic, part, at_offset, reason, order_id, record, sealed, attempts, error FROM "
        "dead_letter "
        "WHERE topic = $1 AND part = $2 AND at_offset = $3 AND entry = 0 OR order_id = $4 ORDER BY "
        "at, topic, part, at_offset FOR UPDATE",
        topic,
        part,
        offset,
        order_id,
    )
    return [Letter(*row) for row in rows]


async def note_failed_again(conn: Connection, letter: Letter, reason: str, error: str) -> None:
    """Note that a replay failed. The letter stays, and takes the newest reason."""
    await conn.execute(
        "UPDATE dead_letter SET attempts = attempts + 1, reason = $4, error = $5 "
        "WHERE topic = $1 AND part = $2 AND at_offset = $3 AND entry = 0",
        *letter.place,
        reason,
        error,
    )
    if letter.order_id is not None:
        await conn.execute(
            "UPDATE held_order SET reason = $2 WHERE order_id = $1", letter.order_id, reason
        )


async def forget_letters(conn: Connection, letters: Sequence[Letter]) -> None:
    """Delete the letters: their replays were handled, or an operator dropped them."""
    await conn.execute(
        "DELETE FROM dead_letter AS d USING unnest($1::text[], $2::int[], $3::bigint[]) AS "
        "w(topic, part, at_offset) "
        "WHERE (d.topic, d.part, d.at_offset, d.entry) = (w.topic, w.part, w.at_offset, 0)",
        [x.topic for x in letters],
        [x.partition for x in letters],
        [x.offset for x in letters],
    )


async def expire_dead_letters(conn: Connection, topic: str, kept_s: float) -> int:
    """Delete the letters of a topic whose bytes the log no longer has. Return their number.

    `kept_s`: for how many seconds the log keeps the bytes. A letter that holds its order stays: the
    database itself has the bytes.
    """
    done = await conn.execute(
        "DELETE FROM dead_letter WHERE topic = $1 AND order_id IS NULL AND at < now() - "
        "make_interval(secs => $2)",
        topic,
        kept_s,
    )
    return int(done.split()[-1])
