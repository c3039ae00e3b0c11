"""`crossborder customs summaries …`: requests to consolidate export lists, and their outcome."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import typer

from services.cli.connect import (
    Exit,
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

if TYPE_CHECKING:
    from rich.table import Table

summaries = typer.Typer(
    invoke_without_command=True,
    help="Consolidation of export lists: requests, declarations, and what waits for a person.",
)

_REQUESTS: Final = (
    "SELECT s.cop_no, s.month, s.customs_code, s.consignor, s.state, s.attempt, s.lists, "
    "s.lines, s.expected, s.sum_no, s.code, s.info, "
    "s.requested_at, s.due_at, s.state = 'refused' AND s.again_at IS NULL AS waits_for_a_person, "
    "coalesce(d.made, '[]')::text AS declarations FROM customs.summary s LEFT JOIN LATERAL ("
    "SELECT jsonb_agg(jsonb_build_object('decl_seq_no', x.decl_seq_no, 'entry_id', x.entry_id, "
    "'stage', x.stage, "
    "'dec_state', x.dec_state, 'lines', x.lines) ORDER BY x.decl_seq_no) AS made "
    "FROM customs.summary_declaration x WHERE x.sum_no = s.sum_no) d ON true "
    "WHERE ($1::text IS NULL OR s.month = $1) ORDER BY s.requested_at DESC, s.cop_no LIMIT $2"
)
_TAKE_UP: Final = (
    "UPDATE customs.export_list SET state = 'open' WHERE invt_no = $1 AND state = "
    "'set_aside' RETURNING 1"
)
_AGAIN: Final = (
    "UPDATE customs.summary SET again_at = now() WHERE cop_no = $1 AND state = "
    "'refused' AND again_at IS NULL RETURNING 1"
)
_SET_ASIDE: Final = (
    "SELECT invt_no FROM customs.export_list WHERE state = 'set_aside' AND "
    "starts_with(invt_no, $1) ORDER BY invt_no LIMIT 11"
)
_REFUSED: Final = (
    "SELECT cop_no FROM customs.summary WHERE state = 'refused' AND again_at IS NULL AND "
    "starts_with(cop_no, $1) "
    "ORDER BY cop_no LIMIT 11"
)
"""Candidates for the beginning of a number."""


@summaries.callback()
def list_(
    context: typer.Context,
    month: str | None = typer.Option(
        None, "--month", help="requests of this month only, as 2026-11"
    ),
    limit: int = typer.Option(100, "--limit", min=1, help="most requests, the newest first"),
    json: bool = typer.Option(False, "--json", help="for machines"),
) -> None:
    """List requests to consolidate export lists, and the lists still to be consolidated."""
    if context.invoked_subcommand is not None:
        return
    overview = run(_list(month, limit))
    if json:
        as_json(overview)
    else:
        _show(overview)


@summaries.command("request")
def request(
    month: str = typer.Argument(
        ..., help="the calendar month in Beijing, as 2026-11; it may not be over yet"
    ),
) -> None:
    """Request the consolidation of a month's closed lists now.

    The customs service asks within a minute, before its timer would.
    Exit 1 if no list of the month can be consolidated.
    """
    if re.fullmatch(r"[0-9]{4}-(0[1-9]|1[0-2])", month) is None:
        raise UsageError(f"{month!r} is not a month like 2026-11")
    count = run(_request(month))
    print_err(
        f"{count} lists of {month} are being asked for"
        if count
        else f"no list of {month} waits to be asked for"
    )
    if not count:
        exit_with(Exit.NO)


@summaries.command("again")
def again(
    cop_no: str = typer.Argument(..., help="the request's own number, or its beginning"),
) -> None:
    """Repeat a refused request, once the reason is mended."""
    _decide(
        _AGAIN,
        _REFUSED,
        cop_no,
        "is asked for anew",
        "no refused request that waits for a person has the number",
    )


@summaries.command("take-up")
def take_up(invt_no: str = typer.Argument(..., help="the list's number, or its beginning")) -> None:
    """Take up a list that a refusal set aside, once it is mended."""
    _decide(
        _TAKE_UP,
        _SET_ASIDE,
        invt_no,
        "is taken up again",
        "no list that was set aside has the number",
    )


def _decide(query: str, candidates: str, number: str, done: str, else_: str) -> None:
    if (whole := run(_update(query, candidates, number))) is not None:
        print_err(f"{whole} {done}")
    else:
        print_err(f"{else_} {number}")
        exit_with(Exit.NO)


async def _update(query: str, candidates: str, number: str) -> str | None:
    async with database(target(), write=True) as conn:
        whole = complete(number, [row[0] for row in await conn.fetch(candidates, number)], "number")
        return whole if whole is not None and await conn.fetchval(query, whole) else None


async def _request(month: str) -> int:
    async with database(target(), write=True) as conn, conn.transaction():
        count: int = await conn.fetchval(
            "SELECT count(*) FROM customs.export_list WHERE state = 'open' AND month = $1", month
        )
        if count:
            await conn.execute(
                "INSERT INTO customs.month_asked (month) VALUES ($1) ON CONFLICT DO NOTHING", month
            )
    return count


async def _list(month: str | None, limit: int) -> dict[str, Any]:
    from services.customs.policy_file import load

    rules = load().summaries.terms
    async with database(target()) as conn:
        requests = [_request_of(dict(row)) for row in await conn.fetch(_REQUESTS, month, limit)]
        owed = await conn.fetch(
            "SELECT month, state, count(*) AS lists, min(closed_at) AS closed_at FROM "
            "customs.export_list "
            "WHERE state IN ('open', 'requested', 'set_aside') AND ($1::text IS NULL OR month = "
            "$1) "
            "GROUP BY month, state ORDER BY min(closed_at), state",
            month,
        )
    return {"requests": requests, "to_consolidate": [_owed(dict(row), rules) for row in owed]}


def _request_of(row: dict[str, Any]) -> dict[str, Any]:
    import orjson

    from shared.clock import BEIJING

    last = row.pop("due_at").astimezone(BEIJING) - timedelta(microseconds=1)
    row["requested_at"] = row["requested_at"].isoformat(timespec="seconds")
    return row | {
        "declarations": orjson.loads(row["declarations"]),
        "due_by": last.date().isoformat(),
    }


def _owed(row: dict[str, Any], terms: Any) -> dict[str, Any]:
    """Return a month's lists with its last day; a rehearsed month has none in the calendar."""
    from services.customs.consolidation import months
    from services.customs.consolidation.calendar import is_working_day
    from shared.clock import BEIJING

    month = months.month_of(row.pop("closed_at"))
    month_terms = months.terms_on(terms, month) if month.label == row["month"] else None
    last: date | None = None
    if month_terms is not None:
        last = (
            months.due_at(month, month_terms, is_working_day) - timedelta(microseconds=1)
        ).date()
    today = datetime.now(UTC).astimezone(BEIJING).date()
    return row | {"due_by": last and last.isoformat(), "days_left": last and (last - today).days}


def _request_table(requests: Sequence[dict[str, Any]]) -> Table:
    from rich.table import Table

    titles = ("request", "month", "office", "consignor", "lists", "state", "declarations")
    table = Table(*titles, "last day", box=None)
    for row in requests:
        names = ("cop_no", "month", "customs_code", "consignor")
        table.add_row(
            *(row[name] for name in names),
            str(row["lists"]),
            _state_of(row),
            _declarations_of(row),
            row["due_by"],
        )
    return table


def _state_of(row: dict[str, Any]) -> str:
    refused = row["state"] == "refused"
    return f"{row['state']} ({row['code'] or row['info']})" if refused else row["state"]


def _declarations_of(row: dict[str, Any]) -> str:
    parts = [
        f"{each['entry_id'] or each['decl_seq_no']} {each['stage']}" for each in row["declarations"]
    ]
    return ", ".join(parts) or f"{row['expected']} expected"


def _show(overview: dict[str, Any]) -> None:
    stdout().print(_request_table(overview["requests"]))
    for row in overview["to_consolidate"]:
        days = f", last day {row['due_by']}, {row['days_left']} days left"
        state = row["state"].replace("_", " ")
        left = "" if row["days_left"] is None else days
        print_err(f"{row['month']}: {row['lists']} lists {state}{left}")
    waiting = [row["cop_no"] for row in overview["requests"] if row["waits_for_a_person"]]
    if waiting:
        print_err(
            f"a person must decide about {', '.join(waiting)}: `crossborder customs summaries "
            "again REQUEST` once the reason is mended"
        )
