"""What waits for a person: programs, held orders, cases, items set aside."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from services.cli.connect import RunningStack, Unreachable, database
from services.cli.verify.findings import Finding

CRASHES: Final = 3
"""Restarts that count as a crash loop, if the last is younger than YOUNG_S."""
YOUNG_S: Final = 60.0
PROGRAMS_SAY: Final = (
    "a program is down, ends again and again, or is not ready: `crossborder status`, then its log"
)
HELD_SAYS: Final = (
    "an order waits behind a dead letter: `crossborder dlq list`, then `dlq "
    "replay` or `order release`"
)
CASES_SAY: Final = (
    "a contradiction waits for a person: `crossborder customs cases list`, "
    "`crossborder payments cases list`"
)
ASIDE_SAYS: Final = (
    "an item failed alone: `crossborder aside list`, mend the cause, `crossborder aside retry`"
)


async def look(to: RunningStack) -> list[Finding]:
    """Return what a person must act on: programs, held orders, open cases, items set aside.

    Without the database only the programs can be judged.
    """
    programs = await _programs(to)
    try:
        return [programs, *await _rows(to)]
    except Unreachable as absent:
        return [
            programs,
            *(Finding(name, says, skipped=str(absent)) for name, (says, _) in _LOOKED_FOR.items()),
        ]


async def _programs(to: RunningStack) -> Finding:
    from services.cli.stack.readiness import programs

    if not to.known:
        return Finding(
            "programs",
            PROGRAMS_SAY,
            skipped="ask what runs the containers: no embedded stack is known here",
        )
    wrong = [
        trouble
        for program in await programs(to.known)
        if (trouble := trouble_of(program, time.time()))
    ]
    return Finding("programs", PROGRAMS_SAY, tuple(wrong))


def trouble_of(program: Mapping[str, Any], now: float) -> str:
    name, restarts = program["name"], program["restarts"]
    if program["state"] != "running":
        return f"{name} is down after {restarts} restarts, see {program['log']}"
    if restarts >= CRASHES and now - _started(program["pid"], now) < YOUNG_S:
        return (
            f"{name} ends again and again: {restarts} restarts, the last less than a minute "
            f"ago, see {program['log']}"
        )
    if program["ready"] is False:
        return f"{name} runs and is not ready, see {program['log']}"
    return ""


def _started(pid: int | None, now: float) -> float:
    import psutil

    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return now


async def named(to: RunningStack, findings: Sequence[Finding]) -> list[Finding]:
    """Name the program that does not publish or read, in findings about waiting records."""
    return [f if f.ok else replace(f, says=await _says(to, f)) for f in findings]


async def _says(to: RunningStack, f: Finding) -> str:
    from services.cli.verify.findings import WAITS_TO_BE_PUBLISHED

    if f.name.endswith(WAITS_TO_BE_PUBLISHED):
        service = f.name.removesuffix(WAITS_TO_BE_PUBLISHED)
        return f"records of {service} wait to be published: {await _why_not(to, service)}"
    if f.name == "no_lag":
        services = sorted({offender.split(" ")[0] for offender in f.offending})
        return "; ".join([f"{f.says}: {await _why_not(to, service)}" for service in services])
    return f.says


async def _why_not(to: RunningStack, service: str) -> str:
    from services.cli.stack.readiness import programs

    if not to.known:
        return f"start {service} if it is down, else look at its log"
    of_service = [p for p in await programs(to.known) if p["name"] == service]
    wrong = [trouble for program in of_service if (trouble := trouble_of(program, time.time()))]
    return ", ".join(wrong) or f"{service} runs and does not, see its log and `crossborder doctor`"


async def _rows(to: RunningStack) -> list[Finding]:
    async with database(to) as conn:
        return [
            Finding(name, says, await _of_each(conn, looked_for))
            for name, (says, looked_for) in _LOOKED_FOR.items()
        ]


_HELD: Final = (
    "held_order",
    "SELECT order_id::text || ': ' || reason FROM {0}.held_order ORDER BY held_at",
)
_CASES: Final = (
    "cases",
    (
        "SELECT 'case ' || number || ' ' || kind || ' ' || subject FROM {0}.cases "
        "WHERE closed_at IS NULL ORDER BY number"
    ),
)
_ASIDE: Final = (
    "aside",
    "SELECT source || ' ' || subject || ': ' || reason FROM {0}.aside ORDER BY number",
)

_LOOKED_FOR: Final = {
    "held_orders": (HELD_SAYS, _HELD),
    "open_cases": (CASES_SAY, _CASES),
    "set_aside": (ASIDE_SAYS, _ASIDE),
}


async def _of_each(conn: Any, looked_for: tuple[str, str]) -> tuple[str, ...]:
    from services.schema import SERVICES

    table, query = looked_for
    lines: list[str] = []
    for service in SERVICES:
        if await conn.fetchval("SELECT to_regclass($1) IS NOT NULL", f"{service}.{table}"):
            lines += [f"{service} {row[0]}" for row in await conn.fetch(query.format(service))]
    return tuple(lines)
