"""Loops that survive an unforeseen error: count it, log it, and try again after a growing pause."""

from __future__ import annotations

from typing import Final

import structlog

from shared import metrics

log = structlog.get_logger(__name__)

FIRST_S: Final = 0.5
PAUSE_MAX_S: Final = 60.0


class LoopFailures:
    """Failed turns of one loop in a row. A gauge shows them until a turn succeeds."""

    def __init__(self, service: str, loop: str) -> None:
        self._labels = service, loop
        self._in_a_row = 0
        metrics.LOOP_FAILURES.labels(*self._labels)
        metrics.LOOP_FAILS.labels(*self._labels).set(0)

    def record(self, error: Exception) -> float:
        """Count a failed turn. Return the seconds to wait: 0.5 doubled each time, 60 at most."""
        service, loop = self._labels
        self._in_a_row += 1
        metrics.LOOP_FAILURES.labels(service, loop).inc()
        metrics.LOOP_FAILS.labels(service, loop).set(self._in_a_row)
        log.error(
            "a loop failed and is tried again: this is a fault of the program",
            service=service,
            loop=loop,
            in_a_row=self._in_a_row,
            exc_info=error,
        )
        return float(min(PAUSE_MAX_S, FIRST_S * 2 ** min(self._in_a_row - 1, 12)))

    def reset(self) -> None:
        """Note that a turn succeeded."""
        if self._in_a_row:
            self._in_a_row = 0
            metrics.LOOP_FAILS.labels(*self._labels).set(0)
