"""Dead letters: read from their topics and from the database, and selected by id or reason."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.cli.connect import (
    RunningStack,
    UsageError,
)
from services.cli.id_prefixes import complete
from shared.envelope import ORIGIN_HEADER, REPLAY_HEADER, Record, first_headers

if TYPE_CHECKING:
    from services.cli.dlq.store import OwedLetter


@dataclass(frozen=True)
class DeadLetter:
    """A record of a `*.dead-letters` topic; `letter_id` is its own topic/partition/offset.

    `stored` is set if the topic has lost it and its service has its sealed bytes.
    """

    record: Record
    stored: OwedLetter | None = None

    @property
    def letter_id(self) -> str:
        if self.stored is not None:
            return self.stored.letter_id
        return f"{self.record.topic}/{self.record.partition}/{self.record.offset}"

    def head(self, name: str) -> str:
        return first_headers(self.record.headers).get(name, b"").decode("utf-8", "replace")

    @property
    def origin(self) -> str:
        return self.head("dlq_topic") or self.record.topic.removesuffix(".dead-letters")

    @property
    def lies_at(self) -> str:
        """Return topic/partition/offset of the original record, and its entry if one failed."""
        entry = self.head("dlq_entry")
        place = f"{self.origin}/{self.head('dlq_partition')}/{self.head('dlq_offset')}"
        return f"{place}/{entry}" if entry else place

    @property
    def service(self) -> str:
        return self.head("dlq_service")

    @property
    def place(self) -> tuple[str, int, int]:
        return (
            self.origin,
            int(self.head("dlq_partition") or -1),
            int(self.head("dlq_offset") or -1),
        )

    @property
    def entry(self) -> int:
        return int(self.head("dlq_entry") or 0)

    @property
    def owed_as(self) -> tuple[str, str, int, int, int]:
        """Return the key of its row: service, topic, partition, offset and entry."""
        return self.service, *self.place, self.entry

    @property
    def is_cut(self) -> bool:
        """Return whether only the beginning is here, since the record was too large."""
        return bool(self.head("dlq_sha256"))

    def may_go(self) -> bool:
        """Return whether it can be replayed: it is whole and fits its topic uncompressed."""
        from shared.envelope import Outgoing
        from shared.outbox import fits

        value, key = self.record.value or b"", self.record.key or b""
        return not self.is_cut and fits(Outgoing(self.origin, key, value, tuple(self.again())))

    def stays(self) -> str:
        bytes_, sha256 = (
            self.head("dlq_bytes") or len(self.record.value or b""),
            self.head("dlq_sha256"),
        )
        return (
            "ask its sender for a smaller one, then `crossborder dlq drop --id "
            f"{self.letter_id}`: {self.letter_id} is too large to "
            f"be replayed; the original of {bytes_} "
            f"bytes{f' (sha256 {sha256})' if sha256 else ''} lies at {self.lies_at}"
        )

    def summary(self) -> dict[str, Any]:
        """Return what the list shows; the value may be personal and is left out."""
        value = self.record.value or b""
        return {
            "id": self.letter_id,
            "at": self.head("dlq_at"),
            "reason": self.head("dlq_reason"),
            "error": self.head("dlq_error"),
            "service": self.head("dlq_service"),
            "origin": self.lies_at,
            "key": (self.record.key or b"").decode("utf-8", "replace"),
            "bytes": int(self.head("dlq_bytes") or len(value)),
            "cut": self.is_cut,
            "attempts": self.head("dlq_attempts"),
        }

    def again(self) -> list[tuple[str, bytes]]:
        original = [
            (name, value) for name, value in self.record.headers if not name.startswith("dlq_")
        ]
        return [
            *original,
            (REPLAY_HEADER, self.letter_id.encode()),
            (ORIGIN_HEADER, self.lies_at.encode()),
        ]


def select(
    letters: Iterable[DeadLetter],
    ids: Sequence[str],
    reason: str | None,
    everything: bool,
    *,
    to_change: bool = True,
) -> list[DeadLetter]:
    """Return the letters of these ids (or unique beginnings), reason, or all; raise UsageError."""
    known = {letter.letter_id: letter for letter in letters}
    whole = {
        given: complete(given, known.keys(), "dead letter's id", to_change=to_change)
        for given in ids
    }
    if missing := sorted(given for given, letter_id in whole.items() if letter_id is None):
        raise UsageError(
            f"choose an id of `crossborder dlq list`: there is no dead letter {', '.join(missing)}"
        )
    if not (ids or everything or reason is not None):
        raise UsageError(
            "say which dead letters: --id TOPIC/PARTITION/OFFSET, --reason REASON, or --all"
        )
    wanted = set(whole.values()) if ids else known.keys()
    selected = [letter for letter_id, letter in known.items() if letter_id in wanted]
    return [letter for letter in selected if reason in (None, letter.head("dlq_reason"))]


async def letters_of(to: RunningStack) -> list[DeadLetter]:
    """Return every letter, oldest first, also those that only a service's table has."""
    from services.cli import topic_reader
    from services.cli.dlq import store as dead_letters
    from shared.topics import TOPICS

    names = [t.name for t in TOPICS if t.name.endswith(".dead-letters")]
    letters = [DeadLetter(record) async for record in topic_reader.read(to, names)]
    there = {letter.owed_as for letter in letters}
    letters += [
        _of_kept(each)
        for each in await dead_letters.owed_letters(to)
        if each.has_bytes and _place_of(each) not in there
    ]
    return sorted(letters, key=lambda letter: (letter.record.timestamp_ms, letter.letter_id))


def _place_of(each: OwedLetter) -> tuple[str, str, int, int, int]:
    return each.service, *each.place, each.entry


def _of_kept(each: OwedLetter) -> DeadLetter:
    from shared.topics import dead_letters_of

    topic, partition, offset = each.place
    heads = {
        "dlq_reason": each.reason,
        "dlq_error": each.error,
        "dlq_service": each.service,
        "dlq_topic": topic,
        "dlq_partition": partition,
        "dlq_offset": offset,
        "dlq_attempts": each.attempts,
        "dlq_at": each.at.isoformat(),
    }
    key = str(each.order_id or "").encode()
    headers = tuple((name, str(value).encode()) for name, value in heads.items())
    return DeadLetter(
        Record(
            dead_letters_of(topic),
            partition,
            offset,
            int(each.at.timestamp() * 1000),
            key,
            b"",
            headers,
        ),
        each,
    )


async def replayed_ids(to: RunningStack, letters: Sequence[DeadLetter]) -> set[str]:
    """Return which of them were replayed: by the database, since anybody can write a header."""
    from services.cli.dlq.store import replayed_letters

    return await replayed_letters(to) & {letter.letter_id for letter in letters}


async def owed_by_id(to: RunningStack, letters: Sequence[DeadLetter]) -> dict[str, OwedLetter]:
    """Return the open ones by id: neither handled, nor dropped, nor skipped."""
    from services.cli.dlq.store import owed_letters

    places = {_place_of(each): each for each in await owed_letters(to)}
    return {
        letter.letter_id: places[letter.owed_as] for letter in letters if letter.owed_as in places
    }
