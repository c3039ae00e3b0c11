"""`python -m deploy.docs.picture`: run the demo and store its output as docs/demo.svg."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from typing import Final

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from deploy.docs.__main__ import FOLDER

FIRST_LEFT_OUT: Final = "tax"
"""The picture ends before this section: kinds and money are enough."""


def main() -> int:
    """Return the demo's exit status; write the picture only after success."""
    command = [sys.executable, "-m", "services", "demo"]
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        env={**os.environ, "FORCE_COLOR": "1"},
        text=True,
        check=False,
    )
    sys.stdout.write(done.stdout)
    if done.returncode == 0:
        (FOLDER / "demo.svg").write_text(picture(done.stdout), encoding="utf-8")
    return done.returncode


def picture(printed: str) -> str:
    """Return the sections before FIRST_LEFT_OUT as an SVG, without the font to be fetched."""
    lines = list(Text.from_ansi(printed).split())
    for line in lines:
        line.rstrip()
    end = next(
        (n for n, line in enumerate(lines) if line.plain.strip() == FIRST_LEFT_OUT), len(lines)
    )
    lines = [Text("$ make demo", "bold"), *lines[:end]]
    console = Console(
        record=True,
        width=max(line.cell_len for line in lines) + 1,
        file=io.StringIO(),
        highlight=False,
    )
    for line in lines:
        console.print(line)
    drawn = console.export_svg(title="crossborder demo", theme=MONOKAI, unique_id="demo")
    return re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL)


if __name__ == "__main__":
    sys.exit(main())
