"""`crossborder verify`: every invariant over the live databases and topics."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

import typer

from services.cli.connect import (
    Exit,
    RunningStack,
    Unreachable,
    as_json,
    database,
    exit_with,
    print_err,
    run,
    target,
)
from services.cli.verify.findings import Finding
from services.cli.verify.report import as_document, show, violations

LOOK_AGAIN_S: Final = 0.5
LONGEST: Final = 6
"""Looks are repeated at most so many times as long while the number of offenders falls."""


def register(app: typer.Typer) -> None:
    app.command()(verify)


def verify(
    json: bool = typer.Option(False, "--json", help="for machines"),
    wait: float = typer.Option(
        10.0, min=0, help="seconds to look again; what is under way is no violation"
    ),
    verbose: bool = typer.Option(False, "--verbose", "-v", help="a line for each invariant"),
) -> None:
    """Check what waits for a person, then every invariant.

    Invariants are checked over the live databases and topics, the bank and the authority.
    Exit 1 if somebody must act or an invariant is broken.
    """
    to = target()
    findings = run(_all(to, wait))
    ok = all(f.ok for f in findings)
    if json:
        as_json(as_document(findings))
    else:
        show(findings, verbose=verbose)
    if not ok:
        exit_with(Exit.NO)


async def _all(to: RunningStack, wait_s: float) -> list[Finding]:
    findings = await attend(to, wait_s)
    try:
        return [*findings, *await judge(to, wait_s)]
    except Unreachable as absent:
        if findings[0].ok:
            raise
        # The programs are known; the reason why nothing else can be judged is added.
        return [*findings, Finding("invariants", "none could be judged", skipped=str(absent))]


async def attend(to: RunningStack, wait_s: float = 10.0) -> list[Finding]:
    """Return what a person must act on; programs have `wait_s` seconds to become ready."""
    from services.cli.verify import attention

    deadline = time.monotonic() + wait_s
    findings = await attention.look(to)
    while not findings[0].ok and time.monotonic() < deadline:
        await _pause()
        findings = await attention.look(to)
    return findings


async def judge(to: RunningStack, wait_s: float = 10.0) -> list[Finding]:
    """Return every invariant, and what waits to be published or read.

    An offender of every look is broken, or waits for a person; any other is under way.
    Looks are repeated for `wait_s` seconds, longer while the number of offenders falls.
    """
    from services.cli.verify import attention, log_invariants

    findings = await _patiently(partial(_look, to), wait_s)
    logs = await _patiently(partial(log_invariants.judge, to), wait_s)
    return await attention.named(to, [*findings, *logs])


async def _patiently(look: Callable[[], Awaitable[list[Finding]]], wait_s: float) -> list[Finding]:
    """Return what offends in every look; progress adds `wait_s` seconds."""
    findings, reported = await look(), ""
    began = moved = (
        time.monotonic()
    )  # from here on: a first look that takes long on a busy machine is not the last
    while not all(f.ok for f in findings) and time.monotonic() < min(
        moved + wait_s, began + LONGEST * wait_s
    ):
        if (waits := ", ".join(f.name for f in findings if not f.ok)) != reported:
            print_err(f"looking again, for up to {wait_s:.0f} s while nothing moves: {waits}")
            reported = waits
        await _pause()
        again = {f.name: f for f in await look()}
        still = [_still(f, again[f.name]) for f in findings]
        if violations(still) < violations(findings):
            moved = time.monotonic()
        findings = still
    return findings


def _still(before: Finding, now: Finding) -> Finding:
    remaining = set(now.offending)
    return replace(now, offending=tuple(o for o in before.offending if o in remaining))


async def _pause() -> None:
    import asyncio

    await asyncio.sleep(LOOK_AGAIN_S)


async def _look(to: RunningStack) -> list[Finding]:
    from services.cli.verify import reconciliation

    findings = await _tables(to)
    findings += await _offsets(to)
    findings += await reconciliation.bank(to)
    findings += await reconciliation.authority(to)
    return findings


async def _tables(to: RunningStack) -> list[Finding]:
    """Judge the services' invariants and those between services in one snapshot.

    An order whose records wait to be published or read breaks nothing between services.
    """
    from services.cli.verify import in_flight
    from services.cli.verify.cross_service_invariants import BETWEEN

    between = {invariant.name for invariant in BETWEEN}
    async with database(to) as conn, conn.transaction(isolation="repeatable_read", readonly=True):
        judged = [await _one(conn, invariant) for invariant in invariants()]
        if all(finding.skipped for finding, _ in judged):
            raise Unreachable("run `crossborder migrate`: the database has none of the tables")
        concerned = _orders_of(judged, between)
        moving, stored = (
            await in_flight.read_in_snapshot(conn, concerned) if concerned else (set(), {})
        )
    # Read after the snapshot: what was published by then lies behind the stored offsets.
    if left := concerned - moving:
        moving |= await in_flight.unread(to, left, stored)
    return [
        _at_rest(finding, orders, moving) if finding.name in between else finding
        for finding, orders in judged
    ]


def _orders_of(
    judged: Sequence[tuple[Finding, list[list[str]]]], names: Collection[str]
) -> set[str]:
    groups = [group for finding, orders in judged if finding.name in names for group in orders]
    return {order for group in groups for order in group}


async def _one(conn: Any, invariant: Any) -> tuple[Finding, list[list[str]]]:
    import asyncpg

    try:
        async with conn.transaction():
            rows = await conn.fetch(invariant.sql)
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError) as error:
        return Finding(invariant.name, invariant.says, skipped=f"not migrated: {error}"), []
    offending = tuple(str(row[0]) for row in rows)
    about = [
        [o for o in row[1] if o is not None] if len(row) > 1 else [str(row[0])] for row in rows
    ]
    return Finding(invariant.name, invariant.says, offending), about


def _at_rest(
    finding: Finding, orders: Sequence[Collection[str]], moving: Collection[str]
) -> Finding:
    rest = (
        o
        for o, of_one in zip(finding.offending, orders, strict=True)
        if not any(order in moving for order in of_one)
    )
    return replace(finding, offending=tuple(rest))


def invariants() -> list[Any]:
    from importlib import import_module
    from importlib.util import find_spec

    from services.cli.verify.cross_service_invariants import BETWEEN, each_service
    from services.schema import SERVICES

    collected: list[Any] = []
    for service in SERVICES:
        if find_spec(f"services.{service}.invariants") is not None:
            collected += import_module(f"services.{service}.invariants").INVARIANTS
        collected += each_service(service)
    return [*collected, *BETWEEN]


async def _offsets(to: RunningStack) -> list[Finding]:
    from services.cli import lag, topic_reader
    from shared.topics import TOPICS

    places = await lag.partition_lags(to)
    # The offset is part of the name: a service that makes progress has a new name each look.
    late = [f"{b.service} {b.topic}/{b.partition} at {b.next}" for b in places if b.records]
    waiting = await topic_reader.open_transactions(
        to, [topic.name for topic in TOPICS if topic.readers]
    )
    beyond = [
        f"{b.service} {b.topic}/{b.partition} at {b.next}, the log ends at {b.end}"
        for b in places
        if b.next > b.end
    ]
    return [
        Finding("no_lag", "records wait although their service makes no progress", tuple(late)),
        Finding(
            "offsets_within_log",
            "a stored offset lies beyond the end of the log: the log was lost, or is another",
            tuple(beyond),
        ),
        # The offset is part of the name: a producer's next transaction has another name.
        Finding(
            "no_open_transaction",
            "a producer does not end its transaction, and nobody reads what was written behind it",
            tuple(
                f"{topic}/{part} from offset {stable}"
                for (topic, part), (stable, _) in sorted(waiting.items())
            ),
        ),
    ]
