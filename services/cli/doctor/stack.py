"""Checks of the running stack: programs, work for a person, PostgreSQL, parties and Kafka."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from services.cli.connect import (
    RunningStack,
    Unreachable,
    target,
)
from services.cli.doctor.check import Check
from services.cli.doctor.database import _parties, _postgres
from services.cli.doctor.machine import keys, ports

if TYPE_CHECKING:
    pass


LAG_MAX: Final = 10_000


async def of_stack() -> list[Check]:
    try:
        to = target()
    except Unreachable as absent:
        return [Check("stack", False, "none is running", str(absent)), *ports()]
    checks: list[Check] = []
    for look in (_attention, _keys, _postgres, _parties, _kafka):
        try:
            async with asyncio.timeout(15):
                checks += await look(to)
        except Unreachable as absent:
            checks.append(Check(look.__name__.strip("_"), False, "no answer", str(absent)))
        except TimeoutError:
            checks.append(
                Check(
                    look.__name__.strip("_"),
                    False,
                    "no answer in 15 s",
                    "look at the log: `crossborder status` says where it is",
                )
            )
    return checks


async def _attention(to: RunningStack) -> list[Check]:
    from services.cli.verify import attention

    return [
        _attention_check(
            f.name,
            f.ok and not (f.skipped and f.name != "programs"),
            f.skipped,
            f.offending,
            f.says,
        )
        for f in await attention.look(to)
    ]


def _attention_check(
    name: str, ok: bool, skipped: str, offending: Sequence[str], says: str
) -> Check:
    state = (
        ("not known" if not ok else skipped)
        if skipped
        else "; ".join(offending[:5]) or _NOTHING[name == "programs"]
    )
    return Check(name.replace("_", " "), ok, state, "" if ok else skipped or says)


_NOTHING: Final = {True: "all run and are ready", False: "none waits"}


async def _keys(to: RunningStack) -> list[Check]:
    return list(keys(to))


def partitions_check(counts: Mapping[str, int]) -> Check:
    """Check that each topic has the number of partitions it was made with.

    A key belongs to a partition by that number.
    Services write to the first PARTITIONS only, so an order's facts stay in order.
    A shop's client uses all: a command can then be read before its order.
    """
    from shared.topics import PARTITIONS

    other = {name: count for name, count in sorted(counts.items()) if count != PARTITIONS}
    todo = (
        f"make these topics anew with {PARTITIONS} partitions, once all is read and nothing "
        "writes; until then a "
        "cancellation may be read before its order: give its dead letter again with `crossborder "
        "dlq replay`"
    )
    state = (
        ", ".join(f"{name} has {count}" for name, count in other.items())
        or f"{PARTITIONS} of each topic"
    )
    return Check("partitions", not other, state, todo if other else "")


async def _kafka(to: RunningStack) -> list[Check]:
    from services.cli import topic_reader
    from services.cli.lag import lag_of
    from shared.topics import TOPICS

    counts = Counter(name for name, _ in await topic_reader.ends(to, [t.name for t in TOPICS]))
    there = set(counts)
    missing = [t.name for t in TOPICS if t.name not in there]
    checks = [
        Check("kafka", True, to.kafka),
        Check(
            "topics",
            not missing,
            f"{len(there)} of {len(TOPICS)}",
            f"run `crossborder topics`: {', '.join(missing)} missing" if missing else "",
        ),
        partitions_check(counts),
    ]
    for service, behind in (await lag_of(to)).items():
        todo = f"look at the log of {service}: is it running?" if behind > LAG_MAX else ""
        checks.append(Check(f"lag of {service}", behind <= LAG_MAX, f"{behind} records", todo))
    return checks
