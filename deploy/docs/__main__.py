"""`python -m deploy.docs`: write the generated pages of docs/."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from deploy.docs import configuration, events, language, metrics, rooms, states

FOLDER: Final = Path(__file__).resolve().parents[2] / "docs"
PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "states.md": states.page,
    "events.md": events.page,
    "metrics.md": metrics.page,
    "configuration.md": configuration.page,
    "sandbox.md": language.page,
}


PARTS: Final[Mapping[tuple[str, str], Callable[[], str]]] = {
    ("architecture.md", "packages"): rooms.part,
}
"""Generated parts of written pages, by page and marker."""


def with_part(text: str, marker: str, part: str) -> str:
    """Replace the text between the two markers of a page; raise ValueError without them."""
    begin, end = (
        f"<!-- {marker}: written by `python -m deploy.docs` -->",
        f"<!-- end of {marker} -->",
    )
    before, has_begin, rest = text.partition(begin)
    _, has_end, after = rest.partition(end)
    if not has_begin or not has_end:
        raise ValueError(f"the page lacks {begin} and {end}")
    return f"{before}{begin}\n\n{part}\n{end}{after}"


def current() -> dict[str, str]:
    """Return the current text of each page that is generated, or has a generated part."""
    pages = {name: page() for name, page in PAGES.items()}
    for (name, marker), part in PARTS.items():
        text = (FOLDER / name).read_text(encoding="utf-8")
        pages[name] = with_part(text, marker, part())
    return pages


def main() -> None:
    for name, text in current().items():
        path = FOLDER / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            sys.stdout.write(f"docs/{name}\n")


if __name__ == "__main__":
    main()
