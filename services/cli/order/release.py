"""`crossborder order release`: let a held order go on, with a trace of who did it and why."""

from __future__ import annotations

from typing import Any
from uuid import UUID

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
    target,
)
from services.cli.dlq.store import holders_of
from services.cli.operator_requests import RequestId, operator, results_of


def release(
    order_ref: str = typer.Argument(
        ..., metavar="NO_OR_ID", help="the order's number or id, or a beginning of one"
    ),
    skip: bool = typer.Option(
        False, "--skip", help="leave out the record that holds it; it is never handled then"
    ),
    note: str = typer.Option("", help="why, for the audit; it is kept for ever, so name no person"),
    service: str | None = typer.Option(None, help="only in this service, where several hold it"),
    json: bool = typer.Option(False, "--json", help="for machines"),
) -> None:
    """Let a held order go on without the record that holds it.

    That record is never handled; the records behind it are handled in order.
    Try `crossborder dlq replay` first: it leaves nothing out.
    """
    if not skip or not note.strip():
        raise UsageError(
            'say --skip and --note "why": what is skipped is never handled; `crossborder dlq '
            "replay` handles it"
        )
    results = run(_release(target(), order_ref, note.strip(), service))
    if json:
        as_json(results)
    else:
        for row in results:
            print(_sentence_of(row))
    if any(row["outcome"] != "done" or "held_again" in row for row in results):
        exit_with(Exit.NO)


async def _release(
    to: RunningStack, order_ref: str, note: str, only: str | None
) -> list[dict[str, Any]]:
    from services.cli.order.lookup import find
    from shared.operator_requests import ask

    async with database(to, write=True) as conn:
        order_id = await _order_id(conn, order_ref, find)
        holders = await holders_of(conn, order_id)
        if only is not None and only not in holders:
            raise UsageError(f"choose a service that holds it: {', '.join(holders) or 'none does'}")
        if not holders:
            print_err(f"nothing to do: no service holds {order_ref}")
            exit_with(Exit.NO)
        requests: list[RequestId] = [
            (each, await ask(conn, each, "skip", operator(), order_id=order_id, note=note))
            for each in holders
            if only in (None, each)
        ]
    results = await results_of(to, requests)
    return [
        {"service": each, "request": number, **results.get((each, number), {"outcome": "asked"})}
        for each, number in requests
    ]


async def _order_id(conn: Any, order_ref: str, find: Any) -> UUID:
    """Return the order's id; an id may be unknown to orders and held all the same."""
    try:
        return UUID(order_ref)
    except ValueError:
        order_id: UUID = (await find(conn, order_ref, to_change=True))["order_id"]
        return order_id


def _sentence_of(row: dict[str, Any]) -> str:
    if row["outcome"] == "asked":
        return f"{row['service']} is asked, and has not done it yet: start it"
    if row["outcome"] != "done":
        return f"{row['service']}: {row.get('why', row['outcome'])}"
    what = ", ".join(
        f"{each.get('ce_type', 'a record')} at {each['at']} ({each['reason']})"
        for each in row["skipped"]
    )
    again = (
        f"; then it is held again: {row['held_again']}, see `crossborder dlq list`"
        if "held_again" in row
        else ""
    )
    return (
        f"{row['service']} skipped {what or 'a record it has no bytes of'}; {row['followed']} "
        f"records followed{again}"
    )
