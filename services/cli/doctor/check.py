"""One check of `crossborder doctor`, and how it is marked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.cli.connect import (
    status_mark,
)

if TYPE_CHECKING:
    from rich.text import Text


@dataclass(frozen=True)
class Check:
    """One thing looked at; `todo` is empty where it is right."""

    name: str
    ok: bool
    found: str
    todo: str = ""
    soon: bool = False
    """It is right and will not stay so: a person should see to it. The exit status is that of what is right."""


def marked(check: Check) -> Text:
    """The mark of a check: `soon` stands for what is right and will not stay so."""
    from rich.text import Text

    return Text("soon", "yellow") if check.ok and check.soon else status_mark(check.ok)
