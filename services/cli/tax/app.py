"""`crossborder tax …`: the group and its commands."""

from __future__ import annotations

import typer

from services.cli.tax import assess, cases, export, landed_cost, rates, rebate, recheck

tax = typer.Typer(no_args_is_help=True, help="What an order owes, worked out from a file.")
tax.add_typer(cases.cases, name="cases")
tax.add_typer(recheck.rules, name="rules")
tax.add_typer(rebate.rebate, name="rebate")
tax.add_typer(rates.rates, name="rates")
tax.command("assess")(assess.assess_file)
tax.command("landed")(landed_cost.landed_file)
tax.command("export")(export.export_file)
