"""One SQLite file per party, and the two tables that every party on Kafka has.

A transaction is committed before anything is answered. The write-ahead log with
`synchronous = NORMAL` survives a killed process. A power cut can lose the last transactions,
which a rehearsal can bear.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import orjson

from shared.envelope import Outgoing

KAFKA_TABLES: Final = """
-- The next offset of each partition, moved in the transaction that has the effects of the records.
CREATE TABLE IF NOT EXISTS consumer_offset (
    topic TEXT NOT NULL, part INTEGER NOT NULL, next INTEGER NOT NULL, PRIMARY KEY (topic, part)
) WITHOUT ROWID;
-- Records to publish, in id order; deleted once the broker acknowledged them.
CREATE TABLE IF NOT EXISTS outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, key BLOB NOT NULL,
    headers BLOB NOT NULL, value BLOB NOT NULL
);
"""


class File:
    """A party's SQLite file: one connection, one transaction at a time."""

    def __init__(self, path: Path | None, schema: str) -> None:
        """Open or create the file; None keeps it in memory."""
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        self.db = sqlite3.connect(str(path) if path else ":memory:", isolation_level=None)
        if path is not None:
            path.chmod(0o600)
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = NORMAL")
        self.db.execute("PRAGMA wal_autocheckpoint = 8000")
        self.db.execute("PRAGMA cache_size = -16000")
        self.db.execute("PRAGMA secure_delete = FAST")
        self.db.executescript(schema)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield self.db
        except BaseException:
            self.db.execute("ROLLBACK")
            raise
        self.db.execute("COMMIT")

    def by_key(self, query: str, keys: Iterable[Any]) -> list[tuple[Any, ...]]:
        """Return the rows of a query whose one parameter is an array of keys for `json_each(?)`."""
        return self.db.execute(query, (orjson.dumps(list(keys)).decode(),)).fetchall()

    def close(self) -> None:
        self.db.close()


Offsets = dict[tuple[str, int], int]
"""The next offset to read, by topic and partition."""


def offsets_of(file: File) -> Offsets:
    return {
        (topic, part): nxt
        for topic, part, nxt in file.db.execute("SELECT topic, part, next FROM consumer_offset")
    }


def move_offsets(db: sqlite3.Connection, offsets: Offsets) -> None:
    db.executemany(
        "INSERT INTO consumer_offset VALUES (?, ?, ?)"
        " ON CONFLICT (topic, part) DO UPDATE SET next = max(next, excluded.next)",
        [(topic, part, nxt) for (topic, part), nxt in offsets.items()],
    )


def append_outbox(db: sqlite3.Connection, records: Sequence[Outgoing]) -> None:
    db.executemany(
        "INSERT INTO outbox (topic, key, headers, value) VALUES (?, ?, ?, ?)",
        [
            (
                r.topic,
                r.key,
                orjson.dumps([(name, value.decode()) for name, value in r.headers]),
                r.value,
            )
            for r in records
        ],
    )


def pending_outbox(file: File, limit: int) -> list[tuple[int, Outgoing]]:
    """Return the oldest unpublished records, each with its id."""
    rows = file.db.execute(
        "SELECT id, topic, key, headers, value FROM outbox ORDER BY id LIMIT ?", (limit,)
    )
    return [
        (
            number,
            Outgoing(
                topic,
                key,
                value,
                tuple((name, text.encode()) for name, text in orjson.loads(headers)),
            ),
        )
        for number, topic, key, headers, value in rows
    ]


def drop_outbox(file: File, numbers: Sequence[int]) -> None:
    with file.transaction() as db:
        db.executemany("DELETE FROM outbox WHERE id = ?", [(number,) for number in numbers])
