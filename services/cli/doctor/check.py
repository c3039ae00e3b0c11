"""One check of `crossborder doctor`, and how it is marked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.cli.connect import (
    status_mark,
)

if TYPE_CHECKING:
    from rich.text import Text


@dataclass(frozen=True)
class Check:
    """One check; `todo` is empty where it is right."""

    name: str
    ok: bool
    state: str
    todo: str = ""
    soon: bool = False
    """It is right now and will not stay so; the exit status is that of a right check."""

    def document(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "ok": self.ok,
            "found": self.state,
            "todo": self.todo,
            "soon": self.soon,
        }


def marked(check: Check) -> Text:
    from rich.text import Text

    return Text("soon", "yellow") if check.ok and check.soon else status_mark(check.ok)
