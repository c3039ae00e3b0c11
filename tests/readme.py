"""The pages that people read: their blocks of commands with what each needs, and their sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

ROOT = Path(__file__).resolve().parents[1]
PAGES: Final = (
    "README.md",
    "CONTRIBUTING.md",
    "docs/observe.md",
    "docs/operate.md",
    "docs/develop.md",
    "docs/access.md",
    "docs/exports.md",
    "docs/destinations.md",
)
"""The pages whose commands are run as printed, in the order in which they are run."""
BLOCK = re.compile(
    r"<!-- needs: (?P<needs>.+?) -->\n```bash\n(?P<text>.*?)```|```bash\n", re.DOTALL
)
SENTENCE_MAX: Final = 25
"""Words a sentence may have."""


@dataclass(frozen=True)
class Block:
    """One block: its page, what it needs, its commands, and the exit status each must end with."""

    page: str
    needs: str
    commands: tuple[str, ...]
    statuses: tuple[int, ...]

    @classmethod
    def of(cls, page: str, needs: str, text: str) -> Self:
        lines = [re.split(r"\s+# ", line, maxsplit=1) for line in text.splitlines() if line.strip()]
        statuses = [re.match(r"exit (\d):", rest[0]) if rest else None for _, *rest in lines]
        return cls(
            page,
            needs,
            tuple(line[0] for line in lines),
            tuple(int(status[1]) if status else 0 for status in statuses),
        )


def blocks(*pages: str) -> list[Block]:
    """Return every block of the pages, of all by default. A block that names no need is an error."""
    return [block for page in pages or PAGES for block in _blocks_of(page)]


def _blocks_of(page: str) -> Iterator[Block]:
    for match in BLOCK.finditer((ROOT / page).read_text(encoding="utf-8")):
        assert match["needs"], f"{page}: put `<!-- needs: … -->` before each block of commands"
        yield Block.of(page, match["needs"], match["text"])


def sentences(text: str) -> Iterator[str]:
    """Yield the sentences of a page: of its paragraphs, list items, headings and table cells.

    A link counts as its text and a piece of code as one word.
    """
    text = re.sub(r"^```.*?^```", "\n\n", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", re.sub(r"`[^`]+`", "code", text))
    for paragraph in re.split(r"\n\s*\n|\n(?=\s*(?:[-#>|]|\d+\.) ?)|\|", text):
        plain = " ".join(re.sub(r"[*_]{1,2}|^\s*(?:[-#>]+|\d+\.)\s", "", paragraph).split())
        yield from (part for part in re.split(r"(?<=[.!?])\s+", plain) if part)


def long_sentences(text: str) -> list[str]:
    """Return the sentences of more than SENTENCE_MAX words; a sign alone is no word."""
    return [
        sentence
        for sentence in sentences(text)
        if len([word for word in sentence.split() if re.search(r"\w", word)]) > SENTENCE_MAX
    ]
