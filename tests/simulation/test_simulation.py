"""All four domains in one process under a virtual clock, with crashes, duplicates, delays and every
outside answer.
"""

from __future__ import annotations

import pytest

from shared.events import EVENT_TYPES
from tests.simulation.mutants import MUTANTS
from tests.simulation.run import simulate
from tests.simulation.sabotage import Sabotage
from tests.simulation.world import Violation

SEEDS = 300
FOUND_WITHIN = 4000
# Each of these once showed a bug that is mended now; the unit tests name the rows.
ONCE_WRONG = (182, 232, 235, 404, 551, 552, 1307, 2546)


@pytest.mark.parametrize("start", range(0, SEEDS, 100))
def test_every_order_ends_rightly_whatever_crashes_repeats_or_lags(start: int) -> None:
    for seed in range(start, start + 100):
        simulate(seed)


def test_every_type_of_event_comes_in_some_seed() -> None:
    """What the simulation never says, it proves nothing about: teach it each new type."""
    # Other tests of the same run have events of their own.
    left = {
        name for name, kind in EVENT_TYPES.items() if kind.__module__.startswith("shared.events.")
    }
    for seed in range(SEEDS):
        left -= simulate(seed).types
        if not left:
            return
    pytest.fail(f"no seed below {SEEDS} says {', '.join(sorted(left))}")


@pytest.mark.parametrize("seed", ONCE_WRONG)
def test_seeds_that_once_showed_a_bug_play_to_their_end(seed: int) -> None:
    simulate(seed)


@pytest.mark.parametrize("seed", range(5))
def test_a_seed_replays_to_the_letter(seed: int) -> None:
    first, second = simulate(seed), simulate(seed)
    assert first.trace == second.trace
    assert first.trace_hash == second.trace_hash


def test_another_seed_is_another_history() -> None:
    assert len({simulate(seed).trace_hash for seed in range(20)}) == 20


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_system_is_seen(name: str) -> None:
    """A simulation that cannot see the bug proves nothing."""
    assert _fails_within(FOUND_WITHIN, MUTANTS[name]), (
        f"{name} is not seen within {FOUND_WITHIN} seeds"
    )


def _fails_within(seeds: int, sabotage: Sabotage) -> bool:
    for seed in range(seeds):
        try:
            simulate(seed, sabotage)
        except Violation:
            return True
    return False
