"""`crossborder dlq`: records a service gave up, why, and how they are given to it again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import typer

from services.cli.connect import Exit, Target, Wrong, as_json, database, leave, paper, producer, run, say, target
from shared.envelope import Record, first_headers, uuid_or_none

dlq = typer.Typer(no_args_is_help=True, help="Dead letters: list, show, replay, drop.")

REPLAY_HEADER: Final = "dlq_replay"
ORIGIN_HEADER: Final = "dlq_origin"


@dataclass(frozen=True)
class DeadLetter:
    """A record of a `*.dead-letters` topic; `letter_id` is its own place: topic/partition/offset."""

    record: Record

    @property
    def letter_id(self) -> str:
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
    def owed_as(self) -> tuple[str, str, int, int, int]:
        """The service that owes it, and the place under which it does; the last number is the entry, 0 for a whole record."""
        return (
            self.head("dlq_service"),
            self.origin,
            int(self.head("dlq_partition") or -1),
            int(self.head("dlq_offset") or -1),
            int(self.head("dlq_entry") or 0),
        )

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
        bytes_, sha256 = self.head("dlq_bytes") or len(self.record.value or b""), self.head("dlq_sha256")
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
        return [*kept, (REPLAY_HEADER, self.letter_id.encode()), (ORIGIN_HEADER, self.lies_at.encode())]


def chosen(letters: Iterable[DeadLetter], ids: Sequence[str], reason: str | None, everything: bool) -> list[DeadLetter]:
    """The dead letters that are meant; raises Wrong if an id is not there."""
    found = list(letters)
    missing = set(ids) - {letter.letter_id for letter in found}
    if missing:
        raise Wrong(f"choose an id of `crossborder dlq list`: there is no dead letter {', '.join(sorted(missing))}")
    if ids:
        found = [letter for letter in found if letter.letter_id in ids]
    elif not everything and reason is None:
        raise Wrong("say which dead letters: --id TOPIC/PARTITION/OFFSET, --reason REASON, or --all")
    return [letter for letter in found if reason is None or letter.head("dlq_reason") == reason]


async def letters_of(to: Target) -> list[DeadLetter]:
    """Every dead letter, the oldest first."""
    from services.cli import reading
    from shared.topics import TOPICS

    names = [t.name for t in TOPICS if t.name.endswith(".dead-letters")]
    found = [DeadLetter(record) async for record in reading.read(to, names)]
    return sorted(found, key=lambda letter: (letter.record.timestamp_ms, letter.letter_id))


async def replayed(to: Target, letters: Sequence[DeadLetter]) -> set[str]:
    """Which of them were replayed: a record in the origin topic, later than the dead letter, says so in a
    header.
    """
    from services.cli import reading

    if not letters:
        return set()
    since = min(letter.record.timestamp_ms for letter in letters)
    found: set[str] = set()
    async for record in reading.read(to, sorted({letter.origin for letter in letters}), since_ms=since):
        found |= {value.decode("utf-8", "replace") for name, value in record.headers if name == REPLAY_HEADER}
    return found


async def owed(to: Target, letters: Sequence[DeadLetter]) -> set[str]:
    """Which of them their service still owes: neither handled after a replay, nor dropped."""
    from services.schema import SERVICES

    places: set[tuple[str, str, int, int, int]] = set()
    async with database(to) as conn:
        for service in SERVICES:
            if await conn.fetchval("SELECT to_regclass($1) IS NOT NULL", f"{service}.dead_letter"):
                rows = await conn.fetch(_OWED.format(service))
                places |= {(service, row["topic"], row["part"], row["at_offset"], row["entry"]) for row in rows}
    return {letter.letter_id for letter in letters if letter.owed_as in places}


@dlq.command("list")
def list_(
    reason: str | None = typer.Option(None, help="only those given up for this reason"),
    json: bool = typer.Option(False, "--json", help="for machines"),
) -> None:
    """List the dead letters, the oldest first."""
    to = target()
    found, done, due = run(_list(to, reason))
    rows = [{**letter.summary(), "replayed": letter.letter_id in done, "owed": letter.letter_id in due} for letter in found]
    if json:
        as_json(rows)
        return
    from rich.table import Table

    table = Table("id", "at", "service", "reason", "error", "key", "replayed", "owed", box=None)
    for row in rows:
        table.add_row(
            row["id"],
            row["at"][:19],
            row["service"],
            row["reason"],
            row["error"][:80],
            row["key"],
            "yes" if row["replayed"] else "",
            "yes" if row["owed"] else "",
        )
    paper().print(table)
    say(
        f"{len(rows)} dead letters, {len(due)} of them owed"
        + ("; `crossborder dlq show ID` shows one, `crossborder dlq replay` gives them again" if rows else "")
    )


async def _list(to: Target, reason: str | None) -> tuple[list[DeadLetter], set[str], set[str]]:
    found = chosen(await letters_of(to), (), reason, everything=True)
    return found, await replayed(to, found), await owed(to, found)


@dlq.command()
def show(
    letter_id: str = typer.Argument(..., metavar="TOPIC/PARTITION/OFFSET"),
    value: bool = typer.Option(False, "--value", help="write the original bytes to stdout; they may carry personal particulars"),
    json: bool = typer.Option(False, "--json", help="for machines"),
) -> None:
    """Show one dead letter: why it was given up, its headers, and with --value its bytes."""
    letter = chosen(run(letters_of(target())), [letter_id], None, everything=False)[0]
    if value:
        typer.echo(letter.record.value or b"", nl=False)
        return
    headers = {name: raw.decode("utf-8", "replace") for name, raw in letter.record.headers if not name.startswith("dlq_")}
    sha256 = letter.head("dlq_sha256") or hashlib.sha256(letter.record.value or b"").hexdigest()
    found = {**letter.summary(), "sha256": sha256, "headers": headers}
    if json:
        as_json(found)
        return
    for name, text in found.items():
        if name != "headers":
            print(f"{name:<10} {text}")
    for name, text in headers.items():
        print(f"header     {name}: {text}")
    say("the bytes may carry personal particulars: --value writes them to stdout")


@dlq.command()
def replay(
    ids: list[str] = typer.Option([], "--id", metavar="TOPIC/PARTITION/OFFSET", help="this one; may be given again"),
    reason: str | None = typer.Option(None, help="those given up for this reason that are owed and not replayed yet"),
    everything: bool = typer.Option(False, "--all", help="every one that is owed and not replayed yet"),
    dry_run: bool = typer.Option(False, "--dry-run", help="say what would be done"),
    json: bool = typer.Option(False, "--json", help="for machines"),
) -> None:
    """Publish the original bytes to the original topic again. Doing it twice does no harm: what was handled, replayed or dropped
    is sent again by its --id alone. One too large for that stays, and a sentence says where the original lies.
    """
    if not (ids or reason or everything):
        raise Wrong("say which dead letters: --id TOPIC/PARTITION/OFFSET, --reason REASON, or --all")
    to = target()
    found = run(_replay(to, ids, reason, everything, dry_run))
    going = [letter for letter in found if letter.may_go()]
    rows = [
        {
            "id": letter.letter_id,
            "to": letter.origin,
            "key": (letter.record.key or b"").decode("utf-8", "replace"),
            "replayed": letter in going and not dry_run,
        }
        for letter in found
    ]
    if json:
        as_json(rows)
    for letter, row in zip(found, rows, strict=True):
        if letter not in going:
            say(letter.stays())
        elif not json:
            print(f"{row['id']} {'would go' if dry_run else 'went'} to {row['to']} under the key {row['key'] or '(none)'}")
    say(f"{len(going)} dead letters {'would be' if dry_run else 'were'} replayed")
    # What stays is told above; only who asks for it by its id, or for nothing that can go, gets no for an answer.
    if not going or (ids and len(going) < len(found)):
        leave(Exit.NO)


async def _replay(to: Target, ids: Sequence[str], reason: str | None, everything: bool, dry_run: bool) -> list[DeadLetter]:
    from shared.topics import named

    found = chosen(await letters_of(to), ids, reason, everything)
    if not ids:
        # Else each try while the cause is not mended would double them: one that fails again is a new dead letter.
        left = await owed(to, found) - await replayed(to, found)
        found = [letter for letter in found if letter.letter_id in left]
    if dry_run or not found:
        return found
    async with producer(to) as out:
        for letter in (letter for letter in found if letter.may_go()):
            # One after the other: two dead letters of one key must come again in their old order.
            await out.send_and_wait(
                named(letter.origin, to.prefix),
                value=letter.record.value or b"",
                key=letter.record.key or None,
                headers=letter.again(),
            )
    return found


@dlq.command()
def drop(
    ids: list[str] = typer.Option([], "--id", metavar="TOPIC/PARTITION/OFFSET", help="this one"),
    reason: str | None = typer.Option(None, help="those given up for this reason"),
    dry_run: bool = typer.Option(False, "--dry-run", help="say what would be done"),
    json: bool = typer.Option(False, "--json", help="for machines"),
) -> None:
    """Owe these no longer: nobody will replay them, and no gauge counts them. Their bytes stay in the topic as long as it keeps
    them. One that holds an order is left alone: only a replay lets the order go on.
    """
    if not (ids or reason):
        raise Wrong("say which dead letters: --id TOPIC/PARTITION/OFFSET, or --reason REASON")
    rows = run(_drop(target(), ids, reason, dry_run))
    if json:
        as_json(rows)
    else:
        for row in rows:
            print(f"{row['id']} {row['outcome']}")
    done = sum(row["outcome"] == ("would be dropped" if dry_run else "dropped") for row in rows)
    say(f"{done} dead letters {'would be' if dry_run else 'were'} dropped")
    if not rows or any(row["outcome"] == HOLDS for row in rows):
        leave(Exit.NO)


async def _drop(to: Target, ids: Sequence[str], reason: str | None, dry_run: bool) -> list[dict[str, str]]:
    letters = chosen(await letters_of(to), ids, reason, everything=False)
    due = await owed(to, letters)
    async with database(to, write=not dry_run) as conn:
        return [
            {
                "id": letter.letter_id,
                "outcome": await _drop_one(conn, letter, dry_run) if letter.letter_id in due else "is not owed",
            }
            for letter in letters
        ]


async def _drop_one(conn: Any, letter: DeadLetter, dry_run: bool) -> str:
    service, *place = letter.owed_as
    order_id = uuid_or_none(letter.record.key)
    if order_id is not None and await conn.fetchval(_HELD.format(service), order_id):
        return HOLDS
    if dry_run:
        return "would be dropped"
    await conn.execute(_FORGET.format(service), *place)
    return "dropped"


HOLDS: Final = "holds its order: replay it"
_OWED: Final = "SELECT topic, part, at_offset, entry FROM {0}.dead_letter"
_HELD: Final = "SELECT EXISTS (SELECT FROM {0}.held_order WHERE order_id = $1)"
_FORGET: Final = "DELETE FROM {0}.dead_letter WHERE topic = $1 AND part = $2 AND at_offset = $3 AND entry = $4"
"""The schema is one of SERVICES."""
