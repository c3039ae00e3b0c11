"""Replay of dead letters: by the service that holds the order, or onto the original topic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from services.cli.connect import (
    RunningStack,
    database,
    producer,
)
from services.cli.dlq.drop import _FORGET, _HELD
from services.cli.dlq.letters import DeadLetter, letters_of, owed_by_id, select
from shared.envelope import Record, uuid_or_none

if TYPE_CHECKING:
    from services.cli.dlq.store import OwedLetter


@dataclass
class ReplayResult:
    """A letter that was to be replayed, and what became of it."""

    letter: DeadLetter
    became: str
    why: str = ""


WENT: Final = "went"


HANDLED: Final = "handled"


FAILED: Final = "failed again"


WAITS: Final = "asked"


STAYS: Final = "stays"


def row_of(each: ReplayResult, dry_run: bool) -> dict[str, Any]:
    return {
        "id": each.letter.letter_id,
        "to": each.letter.origin,
        "key": (each.letter.record.key or b"").decode("utf-8", "replace"),
        "replayed": each.became in (WENT, HANDLED) and not dry_run,
        "became": each.became,
        "why": each.why,
    }


def sentence_of(each: ReplayResult, dry_run: bool) -> str:
    letter, key = (
        each.letter,
        (each.letter.record.key or b"").decode("utf-8", "replace") or "(none)",
    )
    if each.became == WENT or dry_run:
        return (
            f"{letter.letter_id} {'would go' if dry_run else 'went'} to {letter.origin} under "
            f"the key {key}"
        )
    if each.became == HANDLED:
        return (
            f"{letter.letter_id} was handled by {letter.head('dlq_service')}, and what waited "
            f"behind it: {each.why}"
        )
    if each.became == WAITS:
        return (
            f"{letter.letter_id} is asked of {letter.head('dlq_service')}, which has not done "
            "it yet: start it"
        )
    return f"{letter.letter_id} {each.became}: {each.why}"


async def replay_letters(
    to: RunningStack, ids: Sequence[str], reason: str | None, everything: bool, dry_run: bool
) -> list[ReplayResult]:
    letters = select(await letters_of(to), ids, reason, everything)
    due = await owed_by_id(to, letters)
    if not ids:
        letters = [letter for letter in letters if letter.letter_id in due]
    if dry_run or not letters:
        return [_would_replay(letter, due) for letter in letters]
    async with database(to, write=True) as conn:
        by_service = [letter for letter in letters if await _holds(conn, letter, due)]
    requests = await _ask_again(to, by_service)
    ids_by_service = {letter.letter_id for letter in by_service}
    rest = [letter for letter in letters if letter.letter_id not in ids_by_service]
    return [*await _publish_again(to, rest, due), *await _results(to, requests)]


def _would_replay(letter: DeadLetter, due: Mapping[str, OwedLetter]) -> ReplayResult:
    return ReplayResult(letter, WENT if letter.may_go() or _is_kept(letter, due) else STAYS)


def _is_kept(letter: DeadLetter, due: Mapping[str, OwedLetter]) -> bool:
    return letter.letter_id in due and due[letter.letter_id].has_bytes


async def _holds(conn: Any, letter: DeadLetter, due: Mapping[str, OwedLetter]) -> bool:
    """Return whether the letter holds its order, so that its service replays it from its table.

    A letter of an earlier release has no bytes there: they are written first.
    """
    from services.cli.dlq.store import give_bytes
    from shared.dead_letters import pack_record

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
    from services.cli.operator_requests import operator
    from shared.operator_requests import ask

    requests = []
    async with database(to, write=True) as conn:
        for letter in letters:
            service = letter.service
            number = await ask(
                conn,
                service,
                "replay",
                operator(),
                letter=letter.letter_id,
                place=letter.place,
                order_id=uuid_or_none(letter.record.key),
            )
            requests.append((letter, (service, number)))
    return requests


async def _results(
    to: RunningStack, requests: Sequence[tuple[DeadLetter, tuple[str, int]]]
) -> list[ReplayResult]:
    from services.cli.operator_requests import results_of

    results = await results_of(to, [number for _, number in requests]) if requests else {}
    given = []
    for letter, number in requests:
        result = results.get(number)
        if result is None:
            given.append(ReplayResult(letter, WAITS))
        elif result["outcome"] == "done":
            again = (
                f", then it is held again: {result['held_again']}" if "held_again" in result else ""
            )
            given.append(ReplayResult(letter, HANDLED, f"{result['followed']} records{again}"))
        else:
            given.append(
                ReplayResult(
                    letter,
                    FAILED,
                    str(result.get("why") or f"{result.get('reason')}: {result.get('error')}"),
                )
            )
    return given


async def _publish_again(
    to: RunningStack, letters: Sequence[DeadLetter], due: Mapping[str, OwedLetter]
) -> list[ReplayResult]:
    """Publish letters to their topics; an acknowledged one is open no longer.

    It is handled, or becomes a new dead letter.
    """
    from shared.topics import named

    whole = [letter for letter in letters if letter.may_go()]
    if not whole:
        return [ReplayResult(letter, STAYS) for letter in letters]
    async with producer(to) as out, database(to, write=True) as conn:
        # One after the other: two dead letters of one key must come again in their old order.
        for letter in whole:
            await out.send_and_wait(
                named(letter.origin, to.prefix),
                value=letter.record.value or b"",
                key=letter.record.key or None,
                headers=letter.again(),
            )
            await _note_replay(conn, letter, due)
    return [ReplayResult(letter, WENT if letter in whole else STAYS) for letter in letters]


async def _note_replay(conn: Any, letter: DeadLetter, due: Mapping[str, OwedLetter]) -> None:
    from services.cli.operator_requests import operator
    from services.schema import SERVICES
    from shared.operator_requests import ask

    service = letter.service if letter.service in SERVICES else "orders"
    async with conn.transaction():
        if letter.letter_id in due:
            await conn.execute(_FORGET.format(letter.service), *letter.place, letter.entry)
        await ask(
            conn,
            service,
            "replay",
            operator(),
            letter=letter.letter_id,
            place=letter.place,
            outcome="done",
        )
