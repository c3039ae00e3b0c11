"""Plays many seeds on every core, or one seed twice: `python -m tests.simulation --seeds 20000`,
`--seed 182`.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from typing import Final

from tests.simulation.run import Simulation, chunk

CHUNK: Final = 250
TOLD_S: Final = 5.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="make simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20_000, help="how many seeds")
    parser.add_argument("--start", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="play this one twice and print what happens")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    return (
        replay(given.seed)
        if given.seed is not None
        else play(given.start, given.seeds, given.workers)
    )


def replay(seed: int) -> int:
    """Both times the history is the same to the letter, whether it ends well or not."""
    hashes, said = [], ""
    for again in (False, True):
        simulation = Simulation(seed)
        try:
            simulation.run()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what the seed shows
            said = f"{type(error).__name__}: {error}"
        if not again:
            print("\n".join(simulation.world.trace))
        hashes.append(simulation.world.trace_hash())
    print(f"seed {seed}: trace {hashes[0]}")
    print(f"seed {seed}: trace {hashes[1]}")
    print(f"seed {seed}: {said or 'all invariants hold'}")
    return int(bool(said) or hashes[0] != hashes[1])


def play(start: int, seeds: int, workers: int) -> int:
    """Every seed of the range; the ones that fail are named with what failed."""
    began, done, orders, steps, failed = time.monotonic(), 0, 0, 0, list[str]()
    told = began
    chunks = [
        range(at, min(at + CHUNK, start + seeds)) for at in range(start, start + seeds, CHUNK)
    ]
    for count, more_orders, more_steps, faults in _results(chunks, workers):
        done, orders, steps = done + count, orders + more_orders, steps + more_steps
        failed += faults
        for fault in faults:
            print(fault, flush=True)
        if time.monotonic() - told > TOLD_S:
            told = time.monotonic()
            print(
                f"{done} of {seeds} seeds, {len(failed)} failed, {done / (told - began) * 60:.0f} "
                "a minute",
                flush=True,
            )
    seconds = time.monotonic() - began
    print(
        f"{done} seeds, {orders} orders, {steps} steps in {seconds:.1f} s: "
        f"{done / seconds * 60:.0f} seeds a minute"
    )
    print(
        f"{len(failed)} failed; `make simulate SEED=n` replays one"
        if failed
        else "all invariants hold in every seed"
    )
    return int(bool(failed))


def _results(chunks: list[range], workers: int) -> Iterator[tuple[int, int, int, list[str]]]:
    if workers <= 1:
        yield from map(chunk, chunks)
        return
    with multiprocessing.get_context("spawn").Pool(
        workers, gc.set_threshold, (50_000, 20, 20)
    ) as pool:
        yield from pool.imap_unordered(chunk, chunks)


if __name__ == "__main__":
    sys.exit(main())
