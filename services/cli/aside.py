"""`crossborder aside`: items that a service set aside because they failed alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import typer

from services.cli.connect import (
    Exit,
    RunningStack,
    UsageError,
    as_json,
    database,
    exit_with,
    print_err,
    run,
    stdout,
    target,
)
from services.cli.id_prefixes import complete

aside = typer.Typer(
    no_args_is_help=True, help="Items that failed alone and were set aside: list, retry, drop."
)

OUTBOX: Final = "outbox"
FIELDS: Final = (
    "id",
    "service",
    "source",
    "subject",
    "order_id",
    "reason",
    "error",
    "times",
    "first_at",
    "last_at",
    "retry_at",
)


@aside.command("list")
def list_(json: bool = typer.Option(False, "--json", help="for machines")) -> None:
    """List the items that were set aside, oldest first.

    An item is a command to the bank, a record to publish, or an item of a timer.
    Exit 1 if there is one.
    """
    rows = run(items_of(target()))
    if json:
        as_json(rows)
    elif rows:
        _show(rows)
    print_err(
        f"{len(rows)} items are set aside"
        + ("; `crossborder aside retry ID` tries one at once" if rows else "")
    )
    exit_with(Exit.NO if rows else Exit.DONE)


@aside.command()
def retry(
    ids: list[str] = typer.Argument(
        None, metavar="[SERVICE/NUMBER]...", help="as `list` prints them"
    ),
    everything: bool = typer.Option(False, "--all", help="all that are set aside"),
    json: bool = typer.Option(False, "--json", help="for machines"),
) -> None:
    """Retry items at once instead of after their pause.

    Mend the cause first: an item that fails again is set aside again.
    """
    if not (ids or everything):
        raise UsageError("say which: an id that `crossborder aside list` prints, or --all")
    rows = run(_retry(target(), ids or []))
    if json:
        as_json(rows)
    else:
        for row in rows:
            print(f"{row['id']} is tried now: {row['source']} {row['subject']}")
    print_err(
        f"{len(rows)} items are tried now"
        + ("; `crossborder aside list` shows those that fail again" if rows else "")
    )


@aside.command()
def drop(
    item: str = typer.Argument(..., metavar="SERVICE/NUMBER", help="as `list` prints it"),
    note: str = typer.Option("", help="why, for the audit; it is kept for ever, so name no person"),
    json: bool = typer.Option(False, "--json", help="for machines"),
) -> None:
    """Give up a record: it will not be published.

    The records of the same order behind it are published.
    Try `crossborder aside retry` first: it leaves nothing out.
    """
    if not note.strip():
        raise UsageError(
            'say --note "why": what is given up is not published; `crossborder aside retry` '
            "publishes it"
        )
    row = run(_drop(target(), item, note.strip()))
    if json:
        as_json(row)
    else:
        print(f"{row['id']} is given up: {row.get('ce_type', 'a record')} for {row['topic']}")
    print_err("publishing continues behind it; `crossborder verify` names who lacks it")


async def items_of(to: RunningStack) -> list[dict[str, Any]]:
    async with database(to) as conn:
        return await _items(conn)


async def _items(conn: Any) -> list[dict[str, Any]]:
    from services.schema import SERVICES

    items: list[dict[str, Any]] = []
    for service in SERVICES:
        rows = await conn.fetch(_LIST.format(service))
        items += [{"id": f"{service}/{row['number']}", "service": service, **row} for row in rows]
    items.sort(key=lambda row: row["first_at"])
    return [{name: row[name] for name in FIELDS} for row in items]


async def _retry(to: RunningStack, ids: Sequence[str]) -> list[dict[str, Any]]:
    async with database(to, write=True) as conn, conn.transaction():
        rows = await _items(conn)
        wanted = _whole_ids(ids, {row["id"] for row in rows})
        chosen = [row for row in rows if row["id"] in wanted]
        for row in chosen:
            await conn.execute(_DUE.format(row["service"]), row["source"], row["subject"])
            if (also := _ALSO.get(row["source"])) is not None:
                await conn.execute(also.format(row["service"]), row["subject"])
        return chosen


def _whole_ids(ids: Sequence[str], known: set[str]) -> set[str]:
    """Return the ids that are given, whole or by a beginning; all known ids if none is given."""
    whole = {given: complete(given, known, "item's id", to_change=True) for given in ids}
    if unknown := sorted(given for given, item_id in whole.items() if item_id is None):
        raise UsageError(
            "choose an id that `crossborder aside list` prints: nothing is set aside as "
            f"{', '.join(unknown)}"
        )
    return {item_id for item_id in whole.values() if item_id is not None} if ids else known


async def _drop(to: RunningStack, given: str, note: str) -> dict[str, Any]:
    from services.cli.operator_requests import operator
    from shared.operator_requests import ask

    async with database(to, write=True) as conn, conn.transaction():
        rows = {row["id"]: row for row in await _items(conn)}
        item_id = complete(given, set(rows), "item's id", to_change=True)
        if item_id is None:
            raise UsageError(
                "choose an id that `crossborder aside list` prints: nothing is set aside as "
                f"{given}"
            )
        row = rows[item_id]
        if row["source"] != OUTBOX:
            raise UsageError(
                f"mend the cause and run `crossborder aside retry {item_id}`: it is of "
                f"{row['source']}, and only a record to publish "
                "can be given up. Of an instruction to the bank the case is settled: "
                "`crossborder payments cases list`"
            )
        gone = await conn.fetchrow(_UNPUBLISHED.format(row["service"]), row["subject"])
        await conn.execute(_FORGET.format(row["service"]), OUTBOX, row["subject"])
        details = _told_of(gone)
        await ask(
            conn,
            row["service"],
            "give_up",
            operator(),
            order_id=row["order_id"],
            letter=f"{OUTBOX} {row['subject']}",
            note=note,
            outcome="done" if gone else "nothing",
            details=details,
        )
        return {**row, **details}


def _told_of(gone: Any) -> dict[str, str]:
    """Return for the audit a record's topic, and its type if its headers can be read."""
    from shared.outbox import unpack_headers

    if gone is None:
        return {"topic": "no topic: it was published meanwhile"}
    try:
        heads = dict(unpack_headers(gone["headers"]))
    except ValueError:
        heads = {}
    told: dict[str, str] = {
        name: heads[name].decode("utf-8", "replace")
        for name in ("ce_type", "ce_id", "order_version")
        if name in heads
    }
    return {"topic": gone["topic"], **told}


def _show(rows: Sequence[dict[str, Any]]) -> None:
    from rich.table import Table

    table = Table(
        "id",
        "source",
        "order or subject",
        "reason",
        "times",
        "since",
        "again at",
        "error",
        box=None,
    )
    for row in rows:
        table.add_row(
            row["id"],
            row["source"],
            str(row["order_id"] or row["subject"]),
            row["reason"],
            str(row["times"]),
            f"{row['first_at']:%Y-%m-%d %H:%M:%S%z}",
            f"{row['retry_at']:%H:%M:%S%z}",
            row["error"],
        )
    stdout().print(table)


_LIST: Final = (
    "SELECT number, source, subject, order_id, reason, error, times, first_at, "
    "last_at, retry_at FROM {0}.aside ORDER BY number"
)
_DUE: Final = "UPDATE {0}.aside SET retry_at = now() WHERE source = $1 AND subject = $2"
_UNPUBLISHED: Final = "DELETE FROM {0}.outbox WHERE id = $1::text::bigint RETURNING topic, headers"
_FORGET: Final = "DELETE FROM {0}.aside WHERE source = $1 AND subject = $2"
_ALSO: Final = {
    "effect": "UPDATE {0}.effect SET next_at = now() WHERE intent_id = $1::text::uuid",
    "lodge": "UPDATE {0}.waiting SET since = now() WHERE order_id = $1::text::uuid",
}
"""Sources whose items are also due in another table."""
"""The schema is one of SERVICES."""
