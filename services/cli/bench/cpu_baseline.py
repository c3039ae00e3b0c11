"""How often one core walks through a dictionary of 1,000 entries in SECONDS.

Costs are compared with it: a core of a shared host changes its speed from minute to minute.
`python -m services.cli.bench.cpu_baseline SECONDS` prints it.
"""

from __future__ import annotations

import sys
import time
from typing import Final

ENTRIES: Final = {number: str(number) for number in range(1000)}
AT_ONCE: Final = 100


def walk() -> int:
    total = 0
    for number, text in ENTRIES.items():
        total += len(text) + number
    return total


def walks_in(seconds: float) -> int:
    walks, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        for _ in range(AT_ONCE):
            walk()
        walks += AT_ONCE
    return walks


if __name__ == "__main__":
    print(walks_in(float(sys.argv[1])))
