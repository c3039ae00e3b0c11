"""The outcome of followed orders: faults of a refused one, timed steps of any other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from services.cli.connect import RunningStack, database

STEPS_OF_MAX: Final = 20
"""Most orders whose steps are shown; of more, only ends and faults are shown."""
FAULTS_OF_MAX: Final = 1000
USED_UP: Final = frozenset({"rejected", "cancelled", "returned"})
"""States whose order number cannot be used again."""

_HEADS: Final = (
    "SELECT order_id, state, doc -> 'faults' AS faults FROM orders.orders WHERE "
    "order_id = ANY($1::uuid[])"
)
_STEPS: Final = (
    "SELECT order_id, at, source, type FROM orders.timeline WHERE order_id = "
    "ANY($1::uuid[]) ORDER BY id"
)
_RESUBMITTED: Final = (
    "SELECT summary ->> 'verdict' FROM orders.timeline WHERE order_id = $1 AND "
    "type = $2 ORDER BY id DESC LIMIT 1"
)


async def outcomes_of(
    to: RunningStack, order_ids: Sequence[UUID], ends: Mapping[UUID, str]
) -> dict[UUID, dict[str, Any]]:
    from services.cli import cases
    from services.cli.order.waits import waits_of

    wanted = list(order_ids[:FAULTS_OF_MAX])
    async with database(to) as conn:
        rows = await conn.fetch(_HEADS, wanted)
        outcomes: dict[UUID, dict[str, Any]] = {
            row["order_id"]: {"state": row["state"], "faults": row["faults"] or []} for row in rows
        }
        known = [order_id for order_id in wanted if order_id in outcomes]
        for order_id in known:
            outcome = outcomes[order_id]
            if ends.get(order_id) == "exists":
                outcome["verdict"] = await conn.fetchval(
                    _RESUBMITTED, order_id, "order.resubmitted.v1"
                )
        for order_id in [i for i in wanted[:STEPS_OF_MAX] if i in outcomes and i not in ends]:
            open_cases = await cases.of_order(conn, order_id)
            state = outcomes[order_id]["state"]
            outcomes[order_id]["waits_for"] = await waits_of(conn, order_id, state, open_cases)
        if len(order_ids) <= STEPS_OF_MAX:
            await _add_steps(conn, wanted, outcomes)
    return outcomes


async def _add_steps(
    conn: Any, wanted: Sequence[UUID], outcomes: Mapping[UUID, dict[str, Any]]
) -> None:
    rows = await conn.fetch(_STEPS, wanted)
    for order_id, outcome in outcomes.items():
        outcome["steps"] = steps([row for row in rows if row["order_id"] == order_id])


def steps(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for row in rows:
        before: datetime = made[-1]["at"] if made else row["at"]
        first: datetime = made[0]["at"] if made else row["at"]
        made.append(
            {
                "at": row["at"],
                "source": row["source"],
                "type": row["type"],
                "since_first_s": round((row["at"] - first).total_seconds(), 3),
                "took_s": round((row["at"] - before).total_seconds(), 3),
            }
        )
    return made


def lines_of(order_no: str, end: str | None, outcome: Mapping[str, Any] | None) -> Iterator[str]:
    yield f"{order_no}  {end or 'open'}"
    if outcome is None:
        if end is None:
            yield (
                "  nothing is known of it: look at `crossborder dlq list`, if its record was "
                "given up, and at `crossborder status`"
            )
        return
    yield from (f"  waits for: {reason}" for reason in outcome.get("waits_for") or ())
    if outcome["state"] == "rejected":
        yield from (f"  {sentence(fault)}" for fault in outcome["faults"])
    else:
        yield from (_step_line(step) for step in outcome.get("steps") or ())
    if (advice := what_to_send(order_no, end, outcome)) is not None:
        yield f"  {advice}"


def _step_line(step: Mapping[str, Any]) -> str:
    times = f"{step['since_first_s']:9.3f} s  +{step['took_s']:<8.3f}"
    return f"  {times} {step['source']:<9} {step['type']}"


def what_to_send(order_no: str, end: str | None, outcome: Mapping[str, Any]) -> str | None:
    """Return what a shop must do, if anything: a refused or ended order's number is used up."""
    if end == "exists":
        verdict, state = outcome.get("verdict"), outcome["state"]
        if state in USED_UP or (verdict or "exists") != "exists":
            return (
                f"send it under a new number: {order_no} is {state} ({verdict or 'exists'}) "
                "and stays as it is"
            )
        return None
    if outcome["state"] == "rejected":
        return next_of(order_no, "rejected", outcome["faults"])
    return None


def next_of(order_no: str, state: str, faults: Sequence[Mapping[str, Any]]) -> str | None:
    """Return what the shop may do about an ended order; None for an open one."""
    if state == "rejected":
        rules = [(str(fault.get("rule")), str(fault.get("code"))) for fault in faults]
        advice = next(
            (
                advice_text
                for is_so, advice_text in _AFTER_REFUSAL
                if any(is_so(*rule) for rule in rules)
            ),
            _MEND,
        )
        return advice.format(order_no)
    return _AFTER.get(state, "").format(order_no) or None


_MEND: Final = "mend it and send it under a new number: {} is used up"
_RETURNED_BY_CUSTOMS: Final = "700"
_AFTER_REFUSAL: Final[tuple[tuple[Callable[[str, str], bool], str], ...]] = (
    (
        lambda rule, code: rule == "customs_releases" and code == _RETURNED_BY_CUSTOMS,
        (
            "take the goods back: customs sends them away and {} is used up; other goods need an "
            "order under a new number"
        ),
    ),
    (
        lambda rule, _: rule == "customs_releases",
        (
            "settle it with customs, which keeps the goods: {} is not to be sent again under any "
            "number"
        ),
    ),
    (
        lambda rule, _: rule == "bank_accepts",
        "have the buyer pay another way and send it under a new number: {} is used up",
    ),
    (
        lambda rule, _: rule == "tax_accepts",
        (
            "change the goods or the way they come, by the limit that is named, and send it "
            "under a new number: {} is used up"
        ),
    ),
    (
        lambda rule, _: rule.endswith("_matches_payment"),
        (
            "have the buyer pay in their own name what the order says, and send it under a new "
            "number: {} is used up"
        ),
    ),
    (
        lambda rule, _: rule.endswith("_matches_waybill"),
        (
            "make order and waybill agree: send it under a new number and have the carrier book it "
            "again; {} is used up"
        ),
    ),
)
"""What to do by the faults of a refused order, the gravest first."""
_AFTER: Final[Mapping[str, str]] = {
    "fulfilled": "nothing is to be done; goods that are to go back: `crossborder order return {}`",
    "cancelled": "nothing is to be done, what was paid is given back; wanted after all, it is "
    "sent under a new number: {} is used up",
    "returned": "nothing is to be done, the goods are back; wanted again, they are ordered under "
    "a new number: {} is used up",
}


def sentence(fault: Mapping[str, Any]) -> str:
    code = f" ({fault['code']})" if fault.get("code") else ""
    return (
        f"fault {fault.get('field')}: {fault.get('rule')}, found {fault.get('found')}, "
        f"expected {fault.get('expected')}{code}"
    )
