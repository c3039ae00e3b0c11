"""`crossborder order`: show and list orders; request their cancellation or return."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import typer

from services.cli.connect import (
    RunningStack,
    UsageError,
    as_json,
    database,
    print_err,
    run,
    stdout,
    target,
)
from services.cli.order import steps
from services.cli.order.lookup import HEAD, STATES, find, major, without_persons
from services.cli.order.receipt import amount_of, print_receipt
from services.cli.order.release import release
from services.cli.order.requests import lines_of, request

order = typer.Typer(no_args_is_help=True, help="Orders: show, list, cancel, return, release.")
order.command()(release)


WHY: Final = (
    "why: buyer_request, operator, out_of_stock, duplicate, fraud_suspected, wrong_address, "
    "damaged, not_as_described or recalled; "
    "of any other text, which may name persons, the timeline has the length"
)


@order.command()
def show(
    order_ref: str = typer.Argument(
        ..., metavar="NO_OR_ID", help="the order's number or id, or a beginning of one"
    ),
    json: bool = typer.Option(False, "--json", help="for machines"),
) -> None:
    """Show one order: steps, ledger, tax, declaration and refusal."""
    shown = run(_show(target(), order_ref))
    if json:
        as_json(shown)
    else:
        print_receipt(shown)


@order.command("list")
def list_(
    state: str | None = typer.Option(None, help=f"only those in this state: {', '.join(STATES)}"),
    limit: int = typer.Option(50, min=1, max=100_000, help="most rows"),
    json: bool = typer.Option(False, "--json", help="for machines"),
) -> None:
    """List orders, the latest change first."""
    if state is not None and state not in STATES:
        raise UsageError(f"choose a state of {', '.join(STATES)}: {state!r} is unknown")
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
            amount_of(row, "amount_paid"),
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
        None, help="code of the platform, for an order that has not arrived yet"
    ),
) -> None:
    """Cancel an order, as far as it still can be.

    An order that has not arrived yet is cancelled when it arrives.
    """
    request("order.cancel-requested.v1", order_ref, reason, platform)


@order.command("return")
def return_(
    order_ref: str = typer.Argument(
        ..., metavar="NO_OR_ID", help="the order's number or id, or a beginning of one"
    ),
    reason: str = typer.Option("buyer_request", help=WHY),
    lines: str | None = typer.Option(
        None,
        help="only these lines, `1,2`, or a quantity of a line, `1:2`; by default all that is left",
    ),
    refund_if_late: bool = typer.Option(
        True, help="refund the price even if the goods come back after the term"
    ),
) -> None:
    """Request the return of an order's goods, all or some.

    Goods back in time are not taxed, and the buyer's quota is restored.
    """
    parts = lines_of(lines)
    more: dict[str, Any] = {"refund_if_late": refund_if_late} | (
        {"lines": parts} if lines is not None else {}
    )
    request("return.requested.v1", order_ref, reason, None, more)


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
        shown = _head(row)
        shown["detail"] = without_persons(doc)
        shown["timeline"] = [
            {
                "at": r["at"],
                "source": r["source"],
                "type": r["type"],
                "summary": without_persons(r["summary"]),
            }
            for r in await conn.fetch(
                "SELECT at, source, type, summary FROM orders.timeline WHERE order_id = $1 ORDER "
                "BY id",
                row["order_id"],
            )
        ]
        shown |= await details.of_order(conn, row["order_id"])
        shown["next"] = steps.next_of(
            row["order_no"], row["state"], (shown["detail"] or {}).get("faults") or ()
        )
        shown["waits_for"] = await waits_of(conn, row["order_id"], row["state"], shown["cases"])
    return shown


def _head(row: Mapping[str, Any]) -> dict[str, Any]:
    head = dict(row)
    for name in ("goods_value", "amount_paid"):
        head[name] = major(head.pop(f"{name}_minor"), row["currency"])
    return head
