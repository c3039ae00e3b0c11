"""`python -m deploy.grafana`: write the boards that are not as their code says, and name them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

from deploy.grafana.boards import BOARDS
from deploy.grafana.panel import Board, as_json

FOLDER: Final = Path(__file__).resolve().parent / "dashboards"


def text(board: Board) -> str:
    return json.dumps(as_json(board), indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for board in BOARDS:
        path = FOLDER / f"{board.uid}.json"
        if not path.is_file() or path.read_text(encoding="utf-8") != text(board):
            path.write_text(text(board), encoding="utf-8")
            sys.stdout.write(f"{path.name}\n")
    for path in FOLDER.glob("*.json"):
        if path.stem not in {board.uid for board in BOARDS}:
            path.unlink()
            sys.stdout.write(f"{path.name} is gone\n")


if __name__ == "__main__":
    main()
