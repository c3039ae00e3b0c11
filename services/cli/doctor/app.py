"""`crossborder doctor`: what this machine and the stack lack, and what to do about each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from services.cli.connect import (
    Exit,
    as_json,
    exit_with,
    print_err,
    run,
    stdout,
)
from services.cli.doctor.check import marked
from services.cli.doctor.machine import tools
from services.cli.doctor.rules import rule_ends
from services.cli.doctor.stack import of_stack

if TYPE_CHECKING:
    pass


def register(app: typer.Typer) -> None:
    app.command()(doctor)


def doctor(json: bool = typer.Option(False, "--json", help="for machines")) -> None:
    """Check this machine and the stack; name what to do.

    Checks versions, ports, keys, reachability, migrations, topics and lag.
    """
    checks = [*run(of_stack()), *tools(), *rule_ends()]
    ok = all(check.ok for check in checks)
    if json:
        as_json({"ok": ok, "checks": [check.document() for check in checks]})
    else:
        from rich.table import Table

        table = Table("", "what", "found", "what to do", box=None)
        for check in checks:
            table.add_row(marked(check), check.name, check.state, check.todo)
        stdout().print(table)
        if soon := [check.name for check in checks if check.ok and check.soon]:
            print_err(f"nothing is wrong yet with {', '.join(soon)}: see to it soon")
    if not ok:
        exit_with(Exit.NO)
