"""`crossborder SERVICE cases …`: contradictions that a person must settle, with both sides."""

from __future__ import annotations

import getpass
from collections.abc import Mapping
from importlib import import_module
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

if TYPE_CHECKING:
    from uuid import UUID

    from shared.cases import Kinds, StoredCase

SERVICES_WITH_CASES: Final = ("customs", "payments")


def kinds_of(service: str) -> Kinds:
    kinds: Kinds = import_module(f"services.{service}.cases").KINDS
    return kinds


def group_of(service: str) -> typer.Typer:
    group = typer.Typer(
        no_args_is_help=True,
        help="What only a person can settle: list, show, and say how it was settled.",
    )

    @group.command("list")
    def list_(
        every: bool = typer.Option(False, "--all", help="closed cases too"),
        json: bool = typer.Option(False, "--json", help="for machines"),
    ) -> None:
        """List the open cases, oldest first.

        Exit 1 if a case is open.
        """
        cases_ = run(_fetch(service, open_only=not every))
        if json:
            as_json([document(service, case) for case in cases_])
        else:
            _show_table(service, cases_)
        exit_with(Exit.NO if any(case.closed_at is None for case in cases_) else Exit.DONE)

    @group.command("show")
    def show(
        number: int = typer.Argument(..., help="the number of the case, as `list` prints it"),
        json: bool = typer.Option(False, "--json", help="for machines"),
    ) -> None:
        """Show one case: both sides, what was done, and what to do."""
        case = run(_fetch_one(service, number))
        if json:
            as_json(document(service, case))
        else:
            _show_case(service, case)

    return group


def add_close(group: typer.Typer, service: str) -> None:
    @group.command("close")
    def close(
        number: int = typer.Argument(..., help="the number of the case, as `list` prints it"),
        because: str = typer.Option(
            ..., "--because", help="what was found out and done, without personal data"
        ),
    ) -> None:
        """Close a case with the reason.

        The case and the reason are kept.
        Exit 1 if the case is not open.
        """
        done = run(close_case(service, number, verdict="closed", note=because))
        print_err(f"case {number} is closed" if done else f"no open case has the number {number}")
        exit_with(Exit.DONE if done else Exit.NO)


async def close_case(service: str, number: int, *, verdict: str, note: str) -> bool:
    """Close a case in the name of the current user; return False if it is not open."""
    from shared import cases

    async with database(target(), write=True) as conn, conn.transaction():
        await conn.execute(f'SET LOCAL search_path TO "{service}"')
        try:
            return await cases.close(conn, number, verdict=verdict, note=note, by=getpass.getuser())
        except ValueError as error:
            raise UsageError(str(error)) from None


def document(service: str, case: StoredCase) -> dict[str, Any]:
    times: Mapping[str, Any] = {
        name: getattr(case, name) for name in ("opened_at", "last_at", "closed_at")
    }
    return {
        "number": case.number,
        "service": service,
        "kind": case.kind,
        "subject": case.subject,
        "order_id": str(case.order_id) if case.order_id else None,
        **{name: at.isoformat() if at else None for name, at in times.items()},
        "times": case.times,
        "details": case.details,
        "what_to_do": kinds_of(service).get(case.kind),
        "verdict": case.verdict,
        "note": case.note,
        "closed_by": case.closed_by,
    }


async def of_order(conn: Any, order_id: UUID) -> list[dict[str, Any]]:
    from shared import cases

    documents = []
    for service in SERVICES_WITH_CASES:
        if await conn.fetchval("SELECT to_regclass($1) IS NOT NULL", f"{service}.cases"):
            documents += [
                document(service, case)
                for case in await cases.open_for(conn, [order_id], schema=service)
            ]
    return documents + await _of_its_tax_payment(conn, order_id)


async def _of_its_tax_payment(conn: Any, order_id: UUID) -> list[dict[str, Any]]:
    """Return the open cases of the transfer that pays the order's tax bill with many others."""
    from shared import cases

    if not await conn.fetchval("SELECT to_regclass('payments.tax_due') IS NOT NULL"):
        return []
    rows = await conn.fetch(
        "SELECT c.number FROM payments.tax_due d JOIN payments.effect e ON e.order_id = "
        "d.payment_id "
        "JOIN payments.cases c ON c.subject = e.intent_id::text WHERE d.order_id = $1 AND "
        "c.closed_at IS NULL ORDER BY 1",
        order_id,
    )
    stored = [await cases.fetch_one(conn, row["number"], schema="payments") for row in rows]
    return [document("payments", case) for case in stored if case is not None]


async def _fetch(service: str, *, open_only: bool) -> list[StoredCase]:
    from shared import cases

    async with database(target()) as conn:
        return await cases.fetch(conn, open_only=open_only, schema=service)


async def _fetch_one(service: str, number: int) -> StoredCase:
    from shared import cases

    async with database(target()) as conn:
        case = await cases.fetch_one(conn, number, schema=service)
    if case is None:
        raise UsageError(
            f"choose a number that `crossborder {service} cases list --all` prints: {number} is "
            "none"
        )
    return case


def _show_table(service: str, stored: list[StoredCase]) -> None:
    from rich.table import Table

    if not stored:
        print(f"no case of {service} is open")
        return
    table = Table("case", "kind", "subject", "order", "opened", "met", "verdict")
    for case in stored:
        table.add_row(
            str(case.number),
            case.kind,
            case.subject,
            str(case.order_id or ""),
            f"{case.opened_at:%Y-%m-%d %H:%M:%S%z}",
            f"{case.times} times",
            case.verdict or "open",
        )
    stdout().print(table)


def _show_case(service: str, case: StoredCase) -> None:
    shown = document(service, case)
    details = shown.pop("details")
    for name, value in shown.items():
        if value is not None:
            print(f"{name.replace('_', ' ')}: {value}")
    for name, value in details.items():
        print(f"  {name.replace('_', ' ')}: {_plain(value)}")


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(each)}" for name, each in value.items())
    if isinstance(value, list):
        return "; ".join(map(_plain, value))
    return "–" if value is None else str(value)
