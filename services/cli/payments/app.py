"""`crossborder payments …`: what of the money only a person can settle."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Final

import typer

from services.cli.cases import group_of
from services.cli.connect import (
    Exit,
    RunningStack,
    UsageError,
    database,
    exit_with,
    print_err,
    run,
    target,
)

if TYPE_CHECKING:
    from services.payments.bank_commands.settlement import Verdict

payments = typer.Typer(no_args_is_help=True, help="Money: cases that only a person can settle.")
cases = group_of("payments")
payments.add_typer(cases, name="cases")

VERDICT_HELP: Final = (
    "ask-again, new-attempt, done, not-done, write-off, captured or noted; "
    "`crossborder payments cases verdicts` explains each"
)


@cases.command("verdicts")
def verdicts() -> None:
    """Explain each verdict that settles a case."""
    from services.payments.bank_commands.settlement import VERDICTS

    for word, meaning in VERDICTS.items():
        print(f"{word:<12} {meaning}")


@cases.command("settle")
def settle(
    number: int = typer.Argument(..., help="the number of the case, as `list` prints it"),
    verdict: str = typer.Argument(..., help=VERDICT_HELP),
    note: str = typer.Option(
        ..., "--note", help="what was found out, and from whom, without personal data"
    ),
    bank_no: str | None = typer.Option(
        None,
        "--number",
        help="with done: the bank's number of the hold, payment, refund or transfer",
    ),
    amount: str | None = typer.Option(
        None,
        "--amount",
        help="with done: what the bank moved, if it is another amount than was asked",
    ),
    account: str | None = typer.Option(
        None,
        "--account",
        help="what is not moved is written off against: own_funds, tax_difference",
    ),
) -> None:
    """Settle a case by what the bank says.

    The money follows within half a minute.
    Exit 1 if the case is not open.
    """
    from services.payments.bank_commands.settlement import VERDICTS, NotSettled, Verdict

    if verdict not in VERDICTS:
        raise UsageError(f"choose a verdict of {', '.join(VERDICTS)}: {verdict!r} is unknown")
    try:
        follows = run(
            settle_case(target(), number, Verdict(verdict, bank_no, amount, account), note)
        )
    except NotSettled as error:
        raise UsageError(str(error)) from None
    if follows is None:
        print_err(f"no open case has the number {number}")
        exit_with(Exit.NO)
    print_err(f"case {number} is settled: {follows}")


async def settle_case(to: RunningStack, number: int, verdict: Verdict, note: str) -> str | None:
    """Settle a case as the current user; return what follows, None if it is not open.

    Raises NotSettled for a verdict that does not fit, UsageError for an empty note.
    """
    from services.payments.bank_commands.settlement import lock, settle
    from shared import cases as case_store

    async with database(to, write=True) as conn, conn.transaction():
        await conn.execute("SET LOCAL search_path TO payments")
        case = await case_store.fetch_one(conn, number)
        if case is None or case.closed_at is not None:
            return None
        await lock(conn, case)
        try:
            closed = await case_store.close(
                conn, number, verdict=verdict.word, note=note, by=getpass.getuser()
            )
        except ValueError as error:
            raise UsageError(str(error)) from None
        if not closed:
            return None  # another settled it at the same moment
        return await settle(conn, case, verdict)
