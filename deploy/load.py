"""`python -m deploy.load --rate 2`: orders as shops send them, steadily, until it is stopped.

A broker that is away is waited for; what it had not acknowledged is not counted on, and the next orders are others.
`--check` tells whether the broker has acknowledged any of late: the health check of its container.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import ClassVar, Final

from services.cli import publish, samples
from services.cli.connect import RunningStack, Unreachable
from shared.settings import Settings, load

BEAT: Final = Path(tempfile.gettempdir()) / "crossborder-load"
"""Touched whenever all that was sent is acknowledged."""
ROUND_S: Final = 10.0
AGE_S_MAX: Final = 45.0
AGAIN_S: Final = 2.0
RATE_MIN: Final = 1 / ROUND_S
RATE_MAX: Final = 500.0


class LoadSettings(Settings):
    """A shop knows the broker and no database."""

    needs_postgres: ClassVar[bool] = False


def broker() -> RunningStack:
    """The broker that the settings name."""
    settings = load(LoadSettings)
    return RunningStack(
        settings.kafka,
        "",
        settings.topic_prefix,
        settings.home,
        settings.kafka_security,
        settings.party_pem,
    )


async def publish_round(
    to: RunningStack, rate: float, beat: Path = BEAT, round_s: float = ROUND_S
) -> int:
    """One round of orders at `rate` a second; returns how many. Raises Absent when the broker does not take them."""
    records = samples.samples(None, max(1, round(rate * round_s)), None)
    await publish.send(to, records, rate, lambda _n: None)
    # `rate` spaces the orders of a round: the time after its last one is waited out here.
    await asyncio.sleep(1 / rate)
    _acknowledged(beat)
    return len(records)


def _acknowledged(beat: Path) -> None:
    beat.touch()


async def publish_on(to: RunningStack, rate: float) -> None:
    """Round after round, for ever."""
    while True:
        try:
            await publish_round(to, rate)
        except Unreachable as error:
            sys.stderr.write(f"{error}\n")
            await asyncio.sleep(AGAIN_S)


def is_fresh(now_s: float, beat: Path = BEAT) -> bool:
    """Whether a round was acknowledged within AGE_S_MAX seconds before `now_s`, a time since 1970."""
    try:
        return now_s - beat.stat().st_mtime <= AGE_S_MAX
    except OSError:
        return False


def main() -> int:
    parser = argparse.ArgumentParser(prog="deploy.load", description=__doc__)
    parser.add_argument(
        "--rate", type=float, default=1.0, help=f"orders a second, {RATE_MIN:g} to {RATE_MAX:g}"
    )
    parser.add_argument(
        "--check", action="store_true", help="exit 0 if orders are being acknowledged, else 1"
    )
    given = parser.parse_args()
    if given.check:
        return 0 if is_fresh(time.time()) else 1
    if not RATE_MIN <= given.rate <= RATE_MAX:
        parser.error(f"give --rate {RATE_MIN:g} to {RATE_MAX:g}: {given.rate:g} is not")
    asyncio.run(publish_on(broker(), given.rate))
    return 0


if __name__ == "__main__":
    sys.exit(main())
