"""`crossborder order`: one order's state, timeline, money, tax and declaration; cancel and return."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import uuid4

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
from services.cli.order import steps
from services.cli.order.lookup import HEAD, STATES, find, major, without_persons
from services.cli.order.release import release

order = typer.Typer(no_args_is_help=True, help="Orders: show, list, cancel, return, release.")
order.command()(release)


WHY: Final = (
    "why: buyer_request, operator, out_of_stock, duplicate, fraud_suspected, wrong_address, damaged, not_as_described or recalled; "
    "of any other text, which may name persons, the timeline has the length"
)
_QUANTITY: Final = re.compile(r"[0-9]{1,14}(\.[0-9]{1,5})?")


@order.command()
def show(
    order_ref: str = typer.Argument(
        ..., metavar="NO_OR_ID", help="the order's number or id, or a beginning of one"
    ),
    json: bool = typer.Option(False, "--json", help="for machines"),
) -> None:
    """Show where an order stands and how it got there."""
    found = run(_show(target(), order_ref))
    if json:
        as_json(found)
    else:
        _print(found)


@order.command("list")
def list_(
    state: str | None = typer.Option(None, help=f"only those in this state: {', '.join(STATES)}"),
    limit: int = typer.Option(50, min=1, max=100_000, help="most rows"),
    json: bool = typer.Option(False, "--json", help="for machines"),
) -> None:
    """List orders, the latest change first."""
    if state is not None and state not in STATES:
        raise UsageError(f"choose a state of {', '.join(STATES)}: {state!r} is none")
    rows = run(_list(target(), state, limit))
    if json:
        as_json(rows)
        return
    from rich.table import Table

    table = Table(
        "order_no", "state", "corridor", "mode", "amount paid", "updated", "order_id", box=None
    )
    for row in rows:
        table.add_row(
            row["order_no"],
            row["state"],
            row["corridor"] or "",
            row["mode"] or "",
            _amount(row, "amount_paid"),
            row["updated_at"].isoformat(timespec="seconds"),
            str(row["order_id"]),
        )
    stdout().print(table)
    print_err(f"{len(rows)} orders")


@order.command()
def cancel(
    order_ref: str = typer.Argument(
        ..., metavar="NO_OR_ID", help="the order's number or id, or a beginning of one"
    ),
    reason: str = typer.Option("operator", help=WHY),
    platform: str | None = typer.Option(
        None, help="code of the platform, for an order that has not come yet"
    ),
) -> None:
    """Call an order off; what that leads to depends on how far it is. One that has not come yet is called
    off when it comes.
    """
    _ask("order.cancel-requested.v1", order_ref, reason, platform)


@order.command("return")
def return_(
    order_ref: str = typer.Argument(
        ..., metavar="NO_OR_ID", help="the order's number or id, or a beginning of one"
    ),
    reason: str = typer.Option("buyer_request", help=WHY),
    lines: str | None = typer.Option(
        None, help="only these lines, `1,2`, or so many of a line, `1:2`; else all that is left"
    ),
    refund_if_late: bool = typer.Option(
        True, help="refund the price even if the goods come back after the term"
    ),
) -> None:
    """Ask that the goods of an order go back, all or some. In time, no tax is levied on them and the buyer's quota is restored."""
    parts = _lines(lines)
    more: dict[str, Any] = {"refund_if_late": refund_if_late} | (
        {"lines": parts} if lines is not None else {}
    )
    _ask("return.requested.v1", order_ref, reason, None, more)


def _lines(text: str | None) -> list[dict[str, Any]]:
    """`1,2:3` as the lines of a return request; raises Wrong."""
    found: list[dict[str, Any]] = []
    for part in text.split(",") if text is not None else ():
        number, _, quantity = part.strip().partition(":")
        if not (number.isascii() and number.isdecimal()) or (
            ":" in part and not _QUANTITY.fullmatch(quantity)
        ):
            raise UsageError(
                f"name lines as `1,2` or `1:2` (two of line 1): {part.strip()!r} is neither"
            )
        found.append({"line_no": int(number)} | ({"quantity": quantity} if quantity else {}))
    return found


def _ask(
    wire_type: str,
    order_ref: str,
    reason: str,
    platform: str | None,
    more: Mapping[str, Any] | None = None,
) -> None:
    no = run(_publish(target(), wire_type, order_ref, reason, platform, more or {}))
    print_err(f"asked; `crossborder order show {no}` shows what becomes of it")


async def _publish(
    to: RunningStack,
    wire_type: str,
    order_ref: str,
    reason: str,
    platform: str | None,
    more: Mapping[str, Any],
) -> str:
    import json

    from shared.envelope import headers_of
    from shared.outbox import utc_now
    from shared.topics import SUBMISSIONS, named

    order_no = order_ref
    if platform is None:
        async with database(to) as conn:
            row = await find(conn, order_ref, to_change=True)
        order_no, platform = row["order_no"], row["platform_code"]
    at = utc_now()
    asked = {
        "platform": {"code": platform},
        "order_no": order_no,
        "reason": reason,
        "requested_at": at.isoformat(timespec="milliseconds"),
        **more,
    }
    headers = headers_of(event_id=uuid4(), event_type=wire_type, source="crossborder-cli", at=at)
    value = json.dumps(asked, ensure_ascii=False).encode()
    _require_readable(value, headers)
    if await _is_bound(to, platform):
        await _command(to, order_no, value, headers)
        return order_no
    async with producer(to) as out:
        await out.send_and_wait(
            named(SUBMISSIONS, to.prefix),
            value=value,
            key=order_no.encode(),
            headers=list(headers),
        )
    return order_no


async def _is_bound(to: RunningStack, platform: str) -> bool:
    from services.cli.access.parties import all_bound, is_bound

    if all_bound(to):
        return True
    async with database(to) as conn:
        return await is_bound(conn, platform)


async def _command(
    to: RunningStack, order_no: str, value: bytes, headers: Sequence[tuple[str, bytes]]
) -> None:
    """Say it for a platform that signs: an operator has not its key, so this comes by the database."""
    from services.cli.dead_letters import operator, results_of
    from shared.envelope import Record
    from shared.handler import pack_record
    from shared.operator_requests import ask
    from shared.outbox import utc_now
    from shared.topics import SUBMISSIONS

    record = Record(
        SUBMISSIONS,
        0,
        0,
        int(utc_now().timestamp() * 1000),
        order_no.encode(),
        value,
        tuple(headers),
    )
    async with database(to, write=True) as conn:
        number = await ask(conn, "orders", "command", operator(), record=pack_record(record))
    result = (await results_of(to, [("orders", number)])).get(("orders", number))
    if result is None:
        print_err("start orders: it has not done yet what it is asked, and does it when it runs")
        exit_with(Exit.NO)
    if result["outcome"] != "done":
        raise UsageError(f"orders refused it: {result.get('error') or result.get('why')}")


def _require_readable(value: bytes, headers: Sequence[tuple[str, bytes]]) -> None:
    """Raises Wrong for what the intake would set aside as a dead letter, by its own rules."""
    from services.orders.intake.decoding import read_submission
    from shared.errors import Unprocessable

    try:
        read_submission(value, headers)
    except Unprocessable as error:
        raise UsageError(f"mend the request, nothing was published: {error}") from None


async def _list(to: RunningStack, state: str | None, limit: int) -> list[dict[str, Any]]:
    async with database(to) as conn:
        rows = await conn.fetch(
            HEAD
            + "WHERE $1::text IS NULL OR state = $1 ORDER BY updated_at DESC, order_id LIMIT $2",
            state,
            limit,
        )
    return [_head(row) for row in rows]


async def _show(to: RunningStack, order_ref: str) -> dict[str, Any]:
    from services.cli.order import details
    from services.cli.order.waits import waits_of

    async with database(to) as conn:
        row = await find(conn, order_ref)
        doc = await conn.fetchval(
            "SELECT doc FROM orders.orders WHERE order_id = $1", row["order_id"]
        )
        found = _head(row)
        found["detail"] = without_persons(doc)
        found["timeline"] = [
            {
                "at": r["at"],
                "source": r["source"],
                "type": r["type"],
                "summary": without_persons(r["summary"]),
            }
            for r in await conn.fetch(
                "SELECT at, source, type, summary FROM orders.timeline WHERE order_id = $1 ORDER BY id",
                row["order_id"],
            )
        ]
        found |= await details.of_order(conn, row["order_id"])
        found["next"] = steps.next_of(
            row["order_no"], row["state"], (found["detail"] or {}).get("faults") or ()
        )
        found["waits_for"] = await waits_of(conn, row["order_id"], row["state"], found["cases"])
    return found


def _head(row: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(row)
    for name in ("goods_value", "amount_paid"):
        found[name] = major(found.pop(f"{name}_minor"), row["currency"])
    return found


def _amount(row: Mapping[str, Any], name: str) -> str:
    return f"{row[name]} {row['currency']}" if row[name] is not None else "-"


def _print(found: Mapping[str, Any]) -> None:
    from rich.table import Table

    page = stdout()
    page.print(f"{found['order_no']}  {found['order_id']}", style="bold")
    known = {name: found[name] or "-" for name in ("corridor", "mode")}
    page.print(
        f"state {found['state']}  corridor {known['corridor']}  mode {known['mode']}  placed {_time(found['placed_at'])}"
    )
    for waited in found["waits_for"]:
        page.print(f"waits for: {waited}", style="bold", soft_wrap=True)
    if found["next"]:
        page.print(f"next: {found['next']}", soft_wrap=True)
    page.print(f"goods {_amount(found, 'goods_value')}  paid {_amount(found, 'amount_paid')}")
    for fault in (found["detail"] or {}).get("faults") or ():
        page.print(f"  {steps.sentence(fault)}", soft_wrap=True)
    for case in found.get("cases") or ():
        page.print(
            f"\ncase: {case['kind']}, `crossborder {case['service']} cases show {case['number']}`",
            style="bold",
        )
        page.print(f"  {case['what_to_do']}")
        if says := case["details"].get("bank_says"):
            page.print(f"  the bank says: {says}")
    for title in ("money", "tax", "declaration"):
        if found.get(title):
            page.print(f"\n{title}", style="bold")
            for name, value in found[title].items():
                _print_part(page, name, value)
    table = Table("at", "after", "source", "fact", "", box=None)
    began = found["timeline"][0]["at"] if found["timeline"] else None
    for row in found["timeline"]:
        table.add_row(
            _time(row["at"]),
            _after(began, row["at"]),
            row["source"],
            row["type"],
            _brief(row["summary"]),
        )
    page.print("\ntimeline", style="bold")
    page.print(table)


def _print_part(page: Any, name: str, value: Any) -> None:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        for item in value:
            page.print(f"  {name:<16} {_brief(item)}")
    elif value not in (None, [], {}):
        page.print(f"  {name:<16} {_brief(value)}")


def _brief(value: Any) -> str:
    """A document on one line, an amount as `204.10 CNY`."""
    if isinstance(value, dict):
        if value.keys() == {"amount", "currency"}:
            return f"{value['amount']} {value['currency']}"
        return "  ".join(
            f"{k}={_brief(v)}" for k, v in value.items() if v not in (None, "", [], {})
        )
    if isinstance(value, list):
        return "; ".join(_brief(v) for v in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return _time(value) if isinstance(value, datetime) else str(value)


def _after(began: datetime | None, at: datetime) -> str:
    """The seconds since the first entry; an entry of another clock may lie before it."""
    return "" if began is None else f"{(at - began).total_seconds():+.3f} s"


def _time(at: datetime | None) -> str:
    return at.isoformat(timespec="milliseconds") if at else "-"
