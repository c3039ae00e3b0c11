"""`crossborder payments …`: what of the money only a person can settle."""

from __future__ import annotations

import typer

from services.cli.cases import group_of

payments = typer.Typer(no_args_is_help=True, help="Money: cases that only a person can settle.")
cases = group_of("payments")
payments.add_typer(cases, name="cases")
