"""`python -m deploy.docs`: write the generated pages of docs/."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from deploy.docs import configuration, events, language, metrics, states

FOLDER: Final = Path(__file__).resolve().parents[2] / "docs"
PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "states.md": states.page,
    "events.md": events.page,
    "metrics.md": metrics.page,
    "configuration.md": configuration.page,
    "sandbox.md": language.page,
}


def main() -> None:
    """Write each page that differs from its tables, and print its name."""
    for name, page in PAGES.items():
        path, text = FOLDER / name, page()
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            sys.stdout.write(f"docs/{name}\n")


if __name__ == "__main__":
    main()
