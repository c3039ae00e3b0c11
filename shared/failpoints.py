"""Named steps at which a test lets a process die, so that each step between commits is tried."""

from __future__ import annotations

import os
from typing import Final

STEPS: Final = (
    "after_poll", "after_offsets", "after_inbox", "after_reaction", "before_commit",
    "after_commit", "seek_again",
    "relay_after_read", "relay_after_send", "relay_after_delete",
    "effect_after_claim", "effect_after_call", "effect_before_commit", "effect_after_commit",
    "timer_before_commit", "timer_after_commit",
)  # fmt: skip


class Killed(BaseException):
    """Raised in place of a real death, if the failpoint is in the process of the test."""


class Failpoints:
    """Counts the hits of the armed step. At the last one, the process dies as by kill -9.

    With `in_process`, Killed is raised instead.
    """

    def __init__(self, armed: str = "", *, in_process: bool = False) -> None:
        """`armed`: a step of STEPS, or `step:N` for its Nth hit. Raises ValueError for others."""
        step, _, nth = armed.partition(":")
        if step and step not in STEPS:
            raise ValueError(
                f"set CROSSBORDER_FAIL_AT to one of {', '.join(STEPS)} (optionally with :N), not "
                f"{armed!r}"
            )
        self._step = step
        self._left = int(nth or 1)
        self._in_process = in_process
        self.dead = False

    def hit(self, step: str) -> None:
        """Note that the process has reached this step, and die there if the step is armed."""
        if self.dead:
            raise Killed(step)
        if step != self._step:
            return
        self._left -= 1
        if self._left > 0:
            return
        if not self._in_process:
            os._exit(137)
        self.dead = True
        raise Killed(step)


def from_environment() -> Failpoints:
    """Return the failpoints that CROSSBORDER_FAIL_AT arms. Raises ValueError for other steps."""
    return Failpoints(os.environ.get("CROSSBORDER_FAIL_AT", ""))
