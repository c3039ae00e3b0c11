"""`python -m tests.compose.drive`, inside the container of the command line: orders of every kind,
followed to their ends.
"""

from __future__ import annotations

import argparse
import asyncio
import json

from services.cli.connect import target
from tests.faults.load import Load

SETTLE_S = 300.0


async def drive(orders: int, spread_s: float, seed: int) -> dict[str, object]:
    load = Load(target(), orders, seed, spread_s)
    async with load.publishing():
        wrong = await load.settle(spread_s + SETTLE_S)
    return {"orders": len(load.casts), "wrong": wrong}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--orders", type=int, required=True)
    parser.add_argument("--spread", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    given = parser.parse_args()
    print(json.dumps(asyncio.run(drive(given.orders, given.spread, given.seed))))


if __name__ == "__main__":
    main()
