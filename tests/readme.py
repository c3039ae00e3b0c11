"""The README's commands: the fenced blocks of a shell, with what each needs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(
    r"<!-- needs: (?P<needs>.+?) -->\n```bash\n(?P<text>.*?)```|```bash\n", re.DOTALL
)


@dataclass(frozen=True)
class Block:
    """One block: what it needs, its commands, and the exit status each is said to end with."""

    needs: str
    commands: tuple[str, ...]
    statuses: tuple[int, ...]

    @classmethod
    def of(cls, needs: str, text: str) -> Self:
        lines = [re.split(r"\s+# ", line, maxsplit=1) for line in text.splitlines() if line.strip()]
        said = [re.match(r"exit (\d):", rest[0]) if rest else None for _, *rest in lines]
        return cls(
            needs,
            tuple(line[0] for line in lines),
            tuple(int(status[1]) if status else 0 for status in said),
        )


def blocks() -> list[Block]:
    """Every block of the README; one that does not say what it needs is an error."""
    found = list(BLOCK.finditer((ROOT / "README.md").read_text(encoding="utf-8")))
    assert all(match["needs"] for match in found), (
        "put `<!-- needs: … -->` before each block of commands"
    )
    return [Block.of(match["needs"], match["text"]) for match in found]
