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
    """A record of a `*.dead-letters` topic; `letter_id` is its own place: topic/partition/offset.

    `kept` is set where the topic has it no more and its service keeps it, since it holds an order: its bytes are sealed.
    """

    record: Record
    kept: OwedLetter | None = None

    @property
    def letter_id(self) -> str:
        if self.kept is not None:
            return self.kept.letter_id
        return f"{self.record.topic}/{self.record.partition}/{self.record.offset}"

    def head(self, name: str) -> str:
        return first_headers(self.record.headers).get(name, b"").decode("utf-8", "replace")

    @property
    def origin(self) -> str:
        """The topic it came from, and goes to when it is replayed."""
        return self.head("dlq_topic") or self.record.topic.removesuffix(".dead-letters")

    @property
    def lies_at(self) -> str:
        """The place of the record that was given up: topic/partition/offset, and its entry where one alone was."""
        entry = self.head("dlq_entry")
        return f"{self.origin}/{self.head('dlq_partition')}/{self.head('dlq_offset')}{f'/{entry}' if entry else ''}"

    @property
    def service(self) -> str:
        """Which gave it up."""
        return self.head("dlq_service")

    @property
    def place(self) -> tuple[str, int, int]:
        """Where the record that was given up lies."""
        return (
            self.origin,
            int(self.head("dlq_partition") or -1),
            int(self.head("dlq_offset") or -1),
        )

    @property
    def entry(self) -> int:
        """The number of the one entry that was given up; 0 for a whole record."""
        return int(self.head("dlq_entry") or 0)

    @property
    def owed_as(self) -> tuple[str, str, int, int, int]:
        """The service that owes it, and the place under which it does; the last number is the entry, 0 for a whole record."""
        return self.service, *self.place, self.entry

    @property
    def is_cut(self) -> bool:
        """It has only the beginning of the record, which was too large to be set aside."""
        return bool(self.head("dlq_sha256"))

    def may_go(self) -> bool:
        """Whether it can be replayed: it is whole, and its topic takes it as it is, without the compression it came with."""
        from shared.envelope import Outgoing
        from shared.outbox import fits

        value, key = self.record.value or b"", self.record.key or b""
        return not self.is_cut and fits(Outgoing(self.origin, key, value, tuple(self.again())))

    def stays(self) -> str:
        """Why it is not replayed, and what to do instead."""
        bytes_, sha256 = (
            self.head("dlq_bytes") or len(self.record.value or b""),
            self.head("dlq_sha256"),
        )
        return (
            f"ask its sender for a smaller one, then `crossborder dlq drop --id {self.letter_id}`: {self.letter_id} is too large to "
            f"be replayed; the original of {bytes_} bytes{f' (sha256 {sha256})' if sha256 else ''} lies at {self.lies_at}"
        )

    def summary(self) -> dict[str, Any]:
        """What the list shows; the value itself may be personal and is not in it."""
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
        """The headers of its replay: the original ones, which dead letter it was, and last the place of the record given up."""
        kept = [(name, value) for name, value in self.record.headers if not name.startswith("dlq_")]
        return [
            *kept,
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
    """The dead letters that are meant; raises Wrong if an id is not there. A unique beginning of an id will do."""
    found = list(letters)
    there = {letter.letter_id for letter in found}
    whole = {
        given: complete(given, there, "dead letter's id", to_change=to_change) for given in ids
    }
    if missing := {given for given, letter_id in whole.items() if letter_id is None}:
        raise UsageError(
            f"choose an id of `crossborder dlq list`: there is no dead letter {', '.join(sorted(missing))}"
        )
    if ids:
        found = [letter for letter in found if letter.letter_id in whole.values()]
    elif not everything and reason is None:
        raise UsageError(
            "say which dead letters: --id TOPIC/PARTITION/OFFSET, --reason REASON, or --all"
        )
    return [letter for letter in found if reason is None or letter.head("dlq_reason") == reason]


async def letters_of(to: RunningStack) -> list[DeadLetter]:
    """Every dead letter, the oldest first; those too whose topic has them no more, but hold an order."""
    from services.cli import topic_reader
    from services.cli.dlq import store as dead_letters
    from shared.topics import TOPICS

    names = [t.name for t in TOPICS if t.name.endswith(".dead-letters")]
    found = [DeadLetter(record) async for record in topic_reader.read(to, names)]
    there = {letter.owed_as for letter in found}
    found += [
        _of_kept(each)
        for each in await dead_letters.owed_letters(to)
        if each.has_bytes and _place_of(each) not in there
    ]
    return sorted(found, key=lambda letter: (letter.record.timestamp_ms, letter.letter_id))


def _place_of(each: OwedLetter) -> tuple[str, str, int, int, int]:
    return each.service, *each.place, each.entry


def _of_kept(each: OwedLetter) -> DeadLetter:
    """What there is of a letter that its topic has no more."""
    from shared.topics import dead_letters_of

    topic, partition, offset = each.place
    heads = {
        "dlq_reason": each.reason, "dlq_error": each.error, "dlq_service": each.service, "dlq_topic": topic,
        "dlq_partition": partition, "dlq_offset": offset, "dlq_attempts": each.attempts, "dlq_at": each.at.isoformat(),
    }  # fmt: skip
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
    """Which of them an operator gave again. The database tells, not a header: that anybody might write."""
    from services.cli.dlq.store import replayed_letters

    return await replayed_letters(to) & {letter.letter_id for letter in letters}


async def owed_by_id(to: RunningStack, letters: Sequence[DeadLetter]) -> dict[str, OwedLetter]:
    """Those of them that their service still owes: neither handled after a replay, nor dropped, nor skipped."""
    from services.cli.dlq.store import owed_letters

    places = {_place_of(each): each for each in await owed_letters(to)}
    return {
        letter.letter_id: places[letter.owed_as] for letter in letters if letter.owed_as in places
    }
