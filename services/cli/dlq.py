"""`crossborder dlq`: records a service gave up, why, and how they are given to it again."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import typer

from services.cli.connect import (
    Exit,
    RunningStack,
    UsageError,
    as_json,
    database,
    exit_with,
    print_err,
    producer,
    run,
    stdout,
    target,
)
from services.cli.id_prefixes import meant
from shared.envelope import ORIGIN_HEADER, REPLAY_HEADER, Record, first_headers, uuid_or_none

if TYPE_CHECKING:
    from services.cli.dead_letters import Owed

dlq = typer.Typer(no_args_is_help=True, help="Dead letters: list, show, replay, drop.")


@dataclass(frozen=True)
class DeadLetter:
    """A record of a `*.dead-letters` topic; `letter_id` is its own place: topic/partition/offset.

    `kept` is set where the topic has it no more and its service keeps it, since it holds an order: its bytes are sealed.
    """

    record: Record
    kept: Owed | None = None

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


def chosen(
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
    whole = {given: meant(given, there, "dead letter's id", to_change=to_change) for given in ids}
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
    from services.cli import dead_letters, topic_reader
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


def _place_of(each: Owed) -> tuple[str, str, int, int, int]:
    return each.service, *each.place, each.entry


def _of_kept(each: Owed) -> DeadLetter:
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


async def replayed(to: RunningStack, letters: Sequence[DeadLetter]) -> set[str]:
    """Which of them an operator gave again. The database tells, not a header: that anybody might write."""
    from services.cli.dead_letters import replayed_letters

    return await replayed_letters(to) & {letter.letter_id for letter in letters}


async def owed(to: RunningStack, letters: Sequence[DeadLetter]) -> dict[str, Owed]:
    """Those of them that their service still owes: neither handled after a replay, nor dropped, nor skipped."""
    from services.cli.dead_letters import owed_letters

    places = {_place_of(each): each for each in await owed_letters(to)}
    return {
        letter.letter_id: places[letter.owed_as] for letter in letters if letter.owed_as in places
    }


@dlq.command("list")
def list_(
    reason: str | None = typer.Option(None, help="only those given up for this reason"),
    json: bool = typer.Option(False, "--json", help="for machines"),
) -> None:
    """List the dead letters, the oldest first."""
    to = target()
    found, done, due = run(_list(to, reason))
    rows = [
        {**letter.summary(), "replayed": letter.letter_id in done, "owed": letter.letter_id in due}
        for letter in found
    ]
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
            row["error"],
            row["key"],
            "yes" if row["replayed"] else "",
            "yes" if row["owed"] else "",
        )
    stdout().print(table)
    print_err(
        f"{len(rows)} dead letters, {len(due)} of them owed"
        + (
            "; `crossborder dlq show ID` shows one, `crossborder dlq replay` gives them again"
            if rows
            else ""
        )
    )


async def _list(
    to: RunningStack, reason: str | None
) -> tuple[list[DeadLetter], set[str], Collection[str]]:
    found = chosen(await letters_of(to), (), reason, everything=True)
    return found, await replayed(to, found), await owed(to, found)


@dlq.command()
def show(
    letter_id: str = typer.Argument(..., metavar="TOPIC/PARTITION/OFFSET"),
    value: bool = typer.Option(
        False,
        "--value",
        help="write the original bytes to stdout; they may carry personal particulars",
    ),
    json: bool = typer.Option(False, "--json", help="for machines"),
) -> None:
    """Show one dead letter: why it was given up, its headers, and with --value its bytes."""
    letter = chosen(
        run(letters_of(target())), [letter_id], None, everything=False, to_change=False
    )[0]
    if value:
        if letter.kept is not None:
            raise UsageError(
                f"only {letter.kept.service} can open what it keeps sealed, and the topic has it no more: {letter_id}"
            )
        typer.echo(letter.record.value or b"", nl=False)
        return
    headers = {
        name: raw.decode("utf-8", "replace")
        for name, raw in letter.record.headers
        if not name.startswith("dlq_")
    }
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
    print_err("the bytes may carry personal particulars: --value writes them to stdout")


@dlq.command()
def replay(
    ids: list[str] = typer.Option(
        [], "--id", metavar="TOPIC/PARTITION/OFFSET", help="this one; may be given again"
    ),
    reason: str | None = typer.Option(
        None, help="those given up for this reason that are owed and not replayed yet"
    ),
    everything: bool = typer.Option(
        False, "--all", help="every one that is owed and not replayed yet"
    ),
    dry_run: bool = typer.Option(False, "--dry-run", help="say what would be done"),
    json: bool = typer.Option(False, "--json", help="for machines"),
) -> None:
    """Give the original bytes again: one that holds an order to the service that owes it, any other to its topic.

    Doing it twice does no harm: what was handled, replayed or dropped is sent again by its --id alone. One too large for that
    stays, and a sentence says where the original lies.
    """
    if not (ids or reason or everything):
        raise UsageError(
            "say which dead letters: --id TOPIC/PARTITION/OFFSET, --reason REASON, or --all"
        )
    found = run(_replay(target(), ids, reason, everything, dry_run))
    if json:
        as_json([row(each, dry_run) for each in found])
    for each in found:
        if each.became == STAYS:
            print_err(each.letter.stays())
        elif not json:
            print(told(each, dry_run))
    good = sum(each.became in (WENT, HANDLED) for each in found)
    print_err(f"{good} dead letters {'would be' if dry_run else 'were'} replayed")
    # What stays is told above; only who asks for it by its id, or for nothing that can go, gets no for an answer.
    if (
        not good
        or (ids and good < len(found))
        or any(each.became in (FAILED, WAITS) for each in found)
    ):
        exit_with(Exit.NO)


@dataclass
class Given:
    """A letter that was to be given again, and what became of it."""

    letter: DeadLetter
    became: str
    why: str = ""


WENT, HANDLED, FAILED, WAITS, STAYS = "went", "handled", "failed again", "asked", "stays"


def row(each: Given, dry_run: bool) -> dict[str, Any]:
    """What `--json` says of it."""
    return {
        "id": each.letter.letter_id,
        "to": each.letter.origin,
        "key": (each.letter.record.key or b"").decode("utf-8", "replace"),
        "replayed": each.became in (WENT, HANDLED) and not dry_run,
        "became": each.became,
        "why": each.why,
    }


def told(each: Given, dry_run: bool) -> str:
    """The same in a line."""
    letter, key = (
        each.letter,
        (each.letter.record.key or b"").decode("utf-8", "replace") or "(none)",
    )
    if each.became == WENT or dry_run:
        return f"{letter.letter_id} {'would go' if dry_run else 'went'} to {letter.origin} under the key {key}"
    if each.became == HANDLED:
        return f"{letter.letter_id} was handled by {letter.head('dlq_service')}, and what waited behind it: {each.why}"
    if each.became == WAITS:
        return f"{letter.letter_id} is asked of {letter.head('dlq_service')}, which has not done it yet: start it"
    return f"{letter.letter_id} {each.became}: {each.why}"


async def _replay(
    to: RunningStack, ids: Sequence[str], reason: str | None, everything: bool, dry_run: bool
) -> list[Given]:
    found = chosen(await letters_of(to), ids, reason, everything)
    due = await owed(to, found)
    if not ids:
        found = [letter for letter in found if letter.letter_id in due]
    if dry_run or not found:
        return [
            Given(letter, WENT if letter.may_go() or _is_kept(letter, due) else STAYS)
            for letter in found
        ]
    async with database(to, write=True) as conn:
        held = {letter.letter_id for letter in found if await _holds(conn, letter, due)}
    asked = await _ask_again(to, [letter for letter in found if letter.letter_id in held])
    return [
        *await _publish_again(
            to, [letter for letter in found if letter.letter_id not in held], due
        ),
        *await _results(to, asked),
    ]


def _is_kept(letter: DeadLetter, due: Mapping[str, Owed]) -> bool:
    return letter.letter_id in due and due[letter.letter_id].has_bytes


async def _holds(conn: Any, letter: DeadLetter, due: Mapping[str, Owed]) -> bool:
    """Whether the letter holds its order, so that its service has to take it from its own table; what an earlier release gave up
    is put there first.
    """
    from services.cli.dead_letters import give_bytes
    from shared.handler import pack_record

    each = due.get(letter.letter_id)
    if each is None or each.has_bytes:
        return each is not None
    order_id = uuid_or_none(letter.record.key)
    if (
        order_id is None
        or letter.is_cut
        or not await conn.fetchval(_HELD.format(each.service), order_id)
    ):
        return False
    headers = tuple(
        (name, value) for name, value in letter.record.headers if not name.startswith("dlq_")
    )
    original = Record(
        *each.place, letter.record.timestamp_ms, letter.record.key, letter.record.value, headers
    )
    await give_bytes(conn, each.service, each.place, order_id, pack_record(original))
    return True


async def _ask_again(
    to: RunningStack, letters: Sequence[DeadLetter]
) -> list[tuple[DeadLetter, tuple[str, int]]]:
    """Ask their services for these, which hold their orders."""
    from services.cli.dead_letters import operator
    from shared.operator_requests import ask

    asked = []
    async with database(to, write=True) as conn:
        for letter in letters:
            service = letter.service
            number = await ask(conn, service, "replay", operator(), letter=letter.letter_id, place=letter.place,
                               order_id=uuid_or_none(letter.record.key))  # fmt: skip
            asked.append((letter, (service, number)))
    return asked


async def _results(
    to: RunningStack, asked: Sequence[tuple[DeadLetter, tuple[str, int]]]
) -> list[Given]:
    from services.cli.dead_letters import results_of

    results = await results_of(to, [number for _, number in asked]) if asked else {}
    given = []
    for letter, number in asked:
        result = results.get(number)
        if result is None:
            given.append(Given(letter, WAITS))
        elif result["outcome"] == "done":
            again = (
                f", then it is held again: {result['held_again']}" if "held_again" in result else ""
            )
            given.append(Given(letter, HANDLED, f"{result['followed']} records{again}"))
        else:
            given.append(
                Given(
                    letter,
                    FAILED,
                    str(result.get("why") or f"{result.get('reason')}: {result.get('error')}"),
                )
            )
    return given


async def _publish_again(
    to: RunningStack, letters: Sequence[DeadLetter], due: Mapping[str, Owed]
) -> list[Given]:
    """Put these back where they came from. What is acknowledged is owed no longer: it is handled, or given up anew."""
    from services.cli.dead_letters import operator
    from services.schema import SERVICES
    from shared.operator_requests import ask
    from shared.topics import named

    given = []
    if not any(letter.may_go() for letter in letters):
        return [Given(letter, STAYS) for letter in letters]
    async with producer(to) as out, database(to, write=True) as conn:
        for letter in letters:
            if not letter.may_go():
                given.append(Given(letter, STAYS))
                continue
            # One after the other: two dead letters of one key must come again in their old order.
            await out.send_and_wait(
                named(letter.origin, to.prefix),
                value=letter.record.value or b"",
                key=letter.record.key or None,
                headers=letter.again(),
            )
            service = letter.service
            async with conn.transaction():
                if letter.letter_id in due:
                    await conn.execute(_FORGET.format(service), *letter.place, letter.entry)
                await ask(conn, service if service in SERVICES else "orders", "replay", operator(), letter=letter.letter_id,
                          place=letter.place, outcome="done")  # fmt: skip
            given.append(Given(letter, WENT))
    return given


@dlq.command()
def drop(
    ids: list[str] = typer.Option([], "--id", metavar="TOPIC/PARTITION/OFFSET", help="this one"),
    reason: str | None = typer.Option(None, help="those given up for this reason"),
    dry_run: bool = typer.Option(False, "--dry-run", help="say what would be done"),
    json: bool = typer.Option(False, "--json", help="for machines"),
) -> None:
    """Owe these no longer: nobody will replay them, and no gauge counts them. Their bytes stay in the topic as long as it keeps
    them. One that holds an order is left alone: only a replay, or `crossborder order release`, lets the order go on.
    """
    if not (ids or reason):
        raise UsageError("say which dead letters: --id TOPIC/PARTITION/OFFSET, or --reason REASON")
    rows = run(_drop(target(), ids, reason, dry_run))
    if json:
        as_json(rows)
    else:
        for row in rows:
            print(f"{row['id']} {row['outcome']}")
    done = sum(row["outcome"] == ("would be dropped" if dry_run else "dropped") for row in rows)
    print_err(f"{done} dead letters {'would be' if dry_run else 'were'} dropped")
    if not rows or any(row["outcome"] == HOLDS for row in rows):
        exit_with(Exit.NO)


async def _drop(
    to: RunningStack, ids: Sequence[str], reason: str | None, dry_run: bool
) -> list[dict[str, str]]:
    letters = chosen(await letters_of(to), ids, reason, everything=False)
    due = await owed(to, letters)
    async with database(to, write=not dry_run) as conn:
        return [
            {
                "id": letter.letter_id,
                "outcome": await _drop_one(conn, letter, dry_run)
                if letter.letter_id in due
                else "is not owed",
            }
            for letter in letters
        ]


async def _drop_one(conn: Any, letter: DeadLetter, dry_run: bool) -> str:
    from services.cli.dead_letters import operator
    from shared.operator_requests import ask

    service = letter.service
    order_id = uuid_or_none(letter.record.key)
    if order_id is not None and await conn.fetchval(_HELD.format(service), order_id):
        return HOLDS
    if dry_run:
        return "would be dropped"
    async with conn.transaction():
        await conn.execute(_FORGET.format(service), *letter.place, letter.entry)
        await ask(
            conn,
            service,
            "drop",
            operator(),
            letter=letter.letter_id,
            place=letter.place,
            outcome="done",
        )
    return "dropped"


HOLDS: Final = "holds its order: replay it, or let the order go with `crossborder order release ORDER --skip --note WHY`"
_HELD: Final = "SELECT EXISTS (SELECT FROM {0}.held_order WHERE order_id = $1)"
_FORGET: Final = (
    "DELETE FROM {0}.dead_letter WHERE topic = $1 AND part = $2 AND at_offset = $3 AND entry = $4"
)
"""The schema is one of SERVICES."""
