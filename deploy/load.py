"""`python -m deploy.load --rate 2`: publish orders steadily, as shops do, until stopped.

An absent broker is waited for. Orders that it did not acknowledge are not repeated.
`--check` exits 0 if the broker acknowledged orders recently: the health check of the container.
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
"""Touched whenever all published orders are acknowledged."""
ROUND_S: Final = 10.0
AGE_S_MAX: Final = 45.0
AGAIN_S: Final = 2.0
RATE_MIN: Final = 1 / ROUND_S
RATE_MAX: Final = 500.0


class LoadSettings(Settings):
    """A shop knows the broker and no database."""

    needs_postgres: ClassVar[bool] = False


def broker() -> RunningStack:
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
    """Publish one round of orders at `rate` a second; return how many. Raises Unreachable."""
    records = samples.samples(None, max(1, round(rate * round_s)), None)
    await publish.send(to, records, rate, lambda _n: None)
    # `rate` spaces the orders within a round; this pause follows the last one.
    await asyncio.sleep(1 / rate)
    _acknowledged(beat)
    return len(records)


def _acknowledged(beat: Path) -> None:
    beat.touch()


async def publish_on(to: RunningStack, rate: float) -> None:
    while True:
        try:
            await publish_round(to, rate)
        except Unreachable as error:
            sys.stderr.write(f"{error}\n")
            await asyncio.sleep(AGAIN_S)


def is_fresh(now_s: float, beat: Path = BEAT) -> bool:
    """Return whether a round was acknowledged within AGE_S_MAX seconds before `now_s`,
    a Unix time.
    """
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
