"""`crossborder dlq`: dead letters, listed, shown, replayed and dropped."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from typing import Any

import typer

from services.cli.connect import (
    Exit,
    RunningStack,
    UsageError,
    as_json,
    exit_with,
    print_err,
    run,
    stdout,
    target,
)
from services.cli.dlq.drop import HOLDS, drop_letters
from services.cli.dlq.letters import DeadLetter, letters_of, owed_by_id, replayed_ids, select
from services.cli.dlq.replay import (
    FAILED,
    HANDLED,
    STAYS,
    WAITS,
    WENT,
    ReplayResult,
    replay_letters,
    row_of,
    sentence_of,
)

dlq = typer.Typer(no_args_is_help=True, help="Dead letters: list, show, replay, drop.")


@dlq.command("list")
def list_(
    reason: str | None = typer.Option(None, help="only those given up for this reason"),
    json: bool = typer.Option(False, "--json", help="for machines"),
) -> None:
    """List the dead letters, the oldest first."""
    to = target()
    letters, done, due = run(_list(to, reason))
    rows = [
        {**letter.summary(), "replayed": letter.letter_id in done, "owed": letter.letter_id in due}
        for letter in letters
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
    letters = select(await letters_of(to), (), reason, everything=True)
    return letters, await replayed_ids(to, letters), await owed_by_id(to, letters)


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
    """Show one dead letter: reason, headers, and with --value its bytes."""
    letter = select(
        run(letters_of(target())), [letter_id], None, everything=False, to_change=False
    )[0]
    if value:
        _write_value(letter)
    elif json:
        as_json(_details(letter))
    else:
        _show_details(_details(letter))


def _write_value(letter: DeadLetter) -> None:
    if letter.stored is not None:
        raise UsageError(
            f"only {letter.stored.service} can open the sealed record, and the topic has lost it: "
            f"{letter.letter_id}"
        )
    typer.echo(letter.record.value or b"", nl=False)


def _details(letter: DeadLetter) -> dict[str, Any]:
    headers = {
        name: raw.decode("utf-8", "replace")
        for name, raw in letter.record.headers
        if not name.startswith("dlq_")
    }
    sha256 = letter.head("dlq_sha256") or hashlib.sha256(letter.record.value or b"").hexdigest()
    return {**letter.summary(), "sha256": sha256, "headers": headers}


def _show_details(details: dict[str, Any]) -> None:
    for name, text in details.items():
        if name != "headers":
            print(f"{name:<10} {text}")
    for name, text in details["headers"].items():
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
    """Replay dead letters from their original bytes.

    A letter that holds an order goes to the service that gave it up, any other to its topic.
    A letter that was handled, replayed or dropped is replayed only by its --id.
    A letter that is too large stays; a sentence says where the original lies.
    """
    if not (ids or reason or everything):
        raise UsageError(
            "say which dead letters: --id TOPIC/PARTITION/OFFSET, --reason REASON, or --all"
        )
    results = run(replay_letters(target(), ids, reason, everything, dry_run))
    if json:
        as_json([row_of(each, dry_run) for each in results])
    _show_results(results, dry_run=dry_run, json=json)
    good = sum(each.became in (WENT, HANDLED) for each in results)
    print_err(f"{good} dead letters {'would be' if dry_run else 'were'} replayed")
    # Exit 1 for an id that stays, for no letter that can go, and for one that failed or waits.
    bad = {FAILED, WAITS, STAYS} if ids else {FAILED, WAITS}
    if not good or any(each.became in bad for each in results):
        exit_with(Exit.NO)


def _show_results(results: Sequence[ReplayResult], *, dry_run: bool, json: bool) -> None:
    for each in results:
        if each.became == STAYS:
            print_err(each.letter.stays())
        elif not json:
            print(sentence_of(each, dry_run))


@dlq.command()
def drop(
    ids: list[str] = typer.Option([], "--id", metavar="TOPIC/PARTITION/OFFSET", help="this one"),
    reason: str | None = typer.Option(None, help="those given up for this reason"),
    dry_run: bool = typer.Option(False, "--dry-run", help="say what would be done"),
    json: bool = typer.Option(False, "--json", help="for machines"),
) -> None:
    """Mark dead letters as given up: they will not be replayed.

    They no longer count as open; their bytes stay as long as the topic keeps them.
    A letter that holds an order is left alone.
    Only a replay, or `crossborder order release`, lets that order go on.
    """
    if not (ids or reason):
        raise UsageError("say which dead letters: --id TOPIC/PARTITION/OFFSET, or --reason REASON")
    rows = run(drop_letters(target(), ids, reason, dry_run))
    if json:
        as_json(rows)
    else:
        for row in rows:
            print(f"{row['id']} {row['outcome']}")
    done = sum(row["outcome"] == ("would be dropped" if dry_run else "dropped") for row in rows)
    print_err(f"{done} dead letters {'would be' if dry_run else 'were'} dropped")
    if not rows or any(row["outcome"] == HOLDS for row in rows):
        exit_with(Exit.NO)
