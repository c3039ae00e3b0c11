"""Plays the demo: publishes each step when it is due, and follows every order to its end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from services.cli.connect import (
    RunningStack,
    database,
    print_err,
    stderr,
)

if TYPE_CHECKING:
    from services.cli.samples import Cast, Play, Step


BOUND_S: Final = 45.0


LOOK_S: Final = 0.2


DEAD_LETTER: Final = "dead-letter"


def wrong_of(play: Play, ends: Mapping[str, str]) -> list[Cast]:
    wrong = [c for c in play.casts if ends.get(c.order_no) not in c.expected]
    for case, counts in play.counts.items():
        of_case = [c for c in play.casts if c.case == case]
        if Counter(ends.get(c.order_no) for c in of_case) != counts:
            wrong += [c for c in of_case if c not in wrong]
    return wrong


def wrong_bills(play: Play, bills: Mapping[str, str]) -> list[Cast]:
    return [c for c in play.casts if c.bill is not None and bills.get(c.order_no) != c.bill]


async def bills_of(conn: Any) -> dict[str, str]:
    """Return by order number what became of its tax bill: a person's case, or its payment."""
    rows = await conn.fetch(
        "SELECT o.order_no, k.reason, d.state, d.outcome FROM orders.orders o LEFT JOIN "
        "payments.tax_due d USING (order_id) "
        "LEFT JOIN tax.bill_case k ON k.order_id = o.order_id AND k.closed_at IS NULL WHERE "
        "k.reason IS NOT NULL OR d.state IS NOT NULL"
    )
    return {
        r["order_no"]: f"a person: {r['reason']}"
        if r["reason"]
        else f"{r['state']}, {r['outcome']}"
        for r in rows
    }


async def _play(to: RunningStack, play: Play) -> dict[str, str]:
    from rich.live import Live

    from services.cli import samples
    from services.cli.order import counts

    pending, ends = list(play.steps), dict[str, str]()
    began = time.monotonic()
    console = stderr()
    async with database(to) as conn:
        with Live(console=console, auto_refresh=False, transient=not console.is_terminal) as live:
            while time.monotonic() - began < BOUND_S:
                states = await _states(conn)
                types = await samples.timeline_types_of(conn, pending)
                await _settle(to, conn, play)
                pending = await _publish_due(to, pending, states, types, time.monotonic() - began)
                ends = await _ends(to, play, states)
                if console.is_terminal:
                    live.update(
                        counts.table(Counter(states.values()), _progress(play, ends)), refresh=True
                    )
                if (
                    not pending
                    and not wrong_of(play, ends)
                    and not wrong_bills(play, await bills_of(conn))
                ):
                    break
                await asyncio.sleep(LOOK_S)
        return await _ends(to, play, await _states(conn), letters=True)


_OPEN: Final = (
    "SELECT k.number, k.kind, o.order_no FROM payments.cases k JOIN orders.orders o USING "
    "(order_id) "
    "WHERE k.closed_at IS NULL ORDER BY k.number"
)


async def _settle(to: RunningStack, conn: Any, play: Play) -> None:
    from services.cli.payments.app import settle_case
    from services.payments.bank_commands.settlement import NotSettled, Verdict

    verdicts = {c.order_no: c.verdict for c in play.casts if c.verdict}
    for row in await conn.fetch(_OPEN):
        if (word := verdicts.get(row["order_no"])) is None:
            continue
        # The bank's reply may still be under way; the next look retries.
        with contextlib.suppress(NotSettled):
            await settle_case(to, row["number"], Verdict(word), "the bank was asked (demo)")
            print_err(
                f"settled as a person would: `crossborder payments cases settle {row['number']} "
                f"{word}` ({row['kind']})"
            )


def _progress(play: Play, ends: Mapping[str, str]) -> dict[str, str]:
    at_end = len(play.casts) - len(wrong_of(play, ends))
    return {"at their expected end:": f"{at_end} of {len(play.casts)}"}


async def _states(conn: Any) -> dict[str, str]:
    return {
        row["order_no"]: row["state"]
        for row in await conn.fetch("SELECT order_no, state FROM orders.orders")
    }


async def _publish_due(
    to: RunningStack,
    pending: list[Step],
    states: Mapping[str, str],
    types: Mapping[str, Collection[str]],
    elapsed_s: float,
) -> list[Step]:
    from services.cli import publish

    due = [
        s for s in pending if s.is_due(elapsed_s, states.get(s.order_no), types.get(s.order_no, ()))
    ]
    if due:
        await publish.send(
            to, [replace(step.record, after_s=0.0) for step in due], None, lambda _n: None
        )
    return [step for step in pending if step not in due]


async def _ends(
    to: RunningStack, play: Play, states: Mapping[str, str], *, letters: bool = False
) -> dict[str, str]:
    """Return where each order is; dead letters are read only once the rest is done."""
    from services.cli.dlq import letters as dlq_letters

    end_by_no = {c.order_no: states[c.order_no] for c in play.casts if c.order_no in states}
    ended = [
        end_by_no.get(c.order_no) in c.expected or DEAD_LETTER in c.expected for c in play.casts
    ]
    if letters or all(ended):
        given_up = await dlq_letters.letters_of(to)
        keys = {(each.record.key or b"").decode("utf-8", "replace") for each in given_up}
        lost = {c.order_no for c in play.casts} & keys - end_by_no.keys()
        end_by_no |= dict.fromkeys(lost, DEAD_LETTER)
    return end_by_no
