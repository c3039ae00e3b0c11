"""Options and tables that the commands of rules share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table


Folder = Annotated[
    Path,
    typer.Option(
        "--rules", help="A folder of rule files instead of those that came with this release."
    ),
]


RulesFolder = Annotated[
    Path | None,
    typer.Option(help="A folder of rule files instead of those that came with this release."),
]


AsJson = Annotated[bool, typer.Option("--json", help="The answer as JSON.")]


def table_of(*columns: str) -> Table:
    from rich.table import Table

    return Table(*columns)
