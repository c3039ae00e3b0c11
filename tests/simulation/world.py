"""The clock, the dice and the weather of one seed, and what happens next."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush
from random import Random
from typing import Final
from uuid import UUID

STEPS_MAX: Final = 20_000
"""A seed that needs more is a seed that never ends."""

Action = Callable[[], None]


class Violation(AssertionError):
    """An invariant does not hold; the text says which and where."""


@dataclass(frozen=True, slots=True)
class Weather:
    """How often what goes wrong; every seed has its own, so that no fault hides behind another."""

    crash_before_commit: float
    crash_after_commit: float
    publish_twice: float
    batch: float
    long_delay: float
    duplicate_claim: float

    @classmethod
    def drawn(cls, dice: Random) -> Weather:
        return cls(
            *(dice.choice((0.0, most / 4, most)) for most in (0.15, 0.3, 0.3, 0.5, 0.4, 0.2))
        )


class World:
    """Events of one seed in the order of their time.

    The same seed gives the same history to the letter.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.dice = Random(seed)
        self.weather = Weather.drawn(self.dice)
        self.now = 0.0
        self.steps = 0
        self._random = self.dice.random
        self._serial = 0
        self._next: list[tuple[float, int, Action]] = []
        self._trace: list[str] = []

    def after(self, delay_s: float, action: Action) -> None:
        self._serial += 1
        heappush(self._next, (self.now + delay_s, self._serial, action))

    def soon(self, action: Action) -> None:
        """In a moment, or so much later that everything else overtakes it."""
        drawn = self._random()
        if drawn < self.weather.long_delay:
            drawn = self._random() ** 3 * 60
        self.after(drawn, action)

    def happens(self, probability: float) -> bool:
        return probability > 0 and self._random() < probability

    def uuid(self) -> UUID:
        return UUID(int=self.dice.getrandbits(128))

    def note(self, *words: object) -> None:
        """Add to the trace; texts are made at the end, where anybody asks for them."""
        self._trace.append(f"{self.now:.6f} {' '.join(map(str, words))}")

    def run(self) -> None:
        """Until nothing is left to happen."""
        while self._next:
            self.now, _, action = heappop(self._next)
            action()
            self.steps += 1
            if self.steps > STEPS_MAX:
                raise Violation(f"something goes on for ever: {self._trace[-3:]}")

    @property
    def trace(self) -> list[str]:
        return self._trace

    def trace_hash(self) -> str:
        return hashlib.blake2b("\n".join(self._trace).encode(), digest_size=16).hexdigest()
