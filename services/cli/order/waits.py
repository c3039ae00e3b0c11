"""What an order waits for, in one sentence each, for `crossborder order show`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from shared.metrics import ENDS

DOCUMENTS: Final = ("order", "payment", "tax", "waybill")
"""The documents that make a list complete."""
AWAITS_ORDER: Final = "awaits_order"
DECIDED_BY_CUSTOMS: Final = (
    "lodged",
    "accepted",
    "review",
    "examination",
    "held",
    "withdrawing",
    "returning",
)


async def waits_of(
    conn: Any, order_id: UUID, state: str, cases: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Return what the order waits for, a person first; empty if it waits for nothing."""
    reasons = [*await _held(conn, order_id), *await _aside(conn, order_id)]
    reasons += [
        f"a person: case {case['number']} of {case['service']} ({case['kind'].replace('_', ' ')}), "
        f"`crossborder {case['service']} cases show {case['number']}`"
        for case in cases
    ]
    reasons += await _bank(conn, order_id)
    if state == AWAITS_ORDER:
        reasons.append(
            "the order itself: its cancellation came first, and it is called off when it comes"
        )
    elif state not in ENDS:
        reasons += await _customs(conn, order_id)
    return reasons


async def _held(conn: Any, order_id: UUID) -> list[str]:
    from services.schema import SERVICES

    reasons = []
    for service in SERVICES:
        row = await conn.fetchrow(
            f"SELECT reason, held_at FROM {service}.held_order WHERE order_id = $1",  # noqa: S608
            order_id,
        )
        if row is None:
            continue
        letter = await conn.fetchrow(
            f"SELECT topic, part, at_offset FROM {service}.dead_letter WHERE order_id = $1 ORDER "  # noqa: S608
            "BY at LIMIT 1",
            order_id,
        )
        record = (
            f"record {letter['topic']}/{letter['part']}/{letter['at_offset']}"
            if letter
            else "a record of it"
        )
        reasons.append(
            f"a person: {service} gave up {record} ({row['reason']}) {_at(row['held_at'])}; "
            "`crossborder dlq list`, then `dlq replay`, or `order release`"
        )
    return reasons


async def _aside(conn: Any, order_id: UUID) -> list[str]:
    from services.schema import SERVICES

    reasons = []
    for service in SERVICES:
        rows = await conn.fetch(
            f"SELECT source, reason, times, retry_at FROM {service}.aside WHERE order_id = $1 "  # noqa: S608
            "ORDER BY number",
            order_id,
        )
        reasons += [
            f"{service}: {row['source']} failed {row['times']} times ({row['reason']}), again "
            f"{_at(row['retry_at'])}; "
            "`crossborder aside list`"
            for row in rows
        ]
    return reasons


async def _bank(conn: Any, order_id: UUID) -> list[str]:
    rows = await conn.fetch(
        "SELECT kind, attempts, created_at, next_at FROM payments.effect WHERE order_id = $1 "
        "ORDER BY created_at",
        order_id,
    )
    word = await conn.fetchrow(
        "SELECT kind, status, code, reason, at FROM payments.bank_talk WHERE order_id = $1 ORDER "
        "BY at DESC LIMIT 1",
        order_id,
    )
    last = (
        f"; its last reply: {_joined(word['kind'], word['status'], word['code'], word['reason'])} "
        f"{_at(word['at'])}"
        if word
        else ""
    )
    return [
        f"the bank: {row['kind'].replace('_', ' ')} asked {row['attempts']} times since "
        f"{_on(row['created_at'])}, "
        f"again {_at(row['next_at'])}{last}"
        for row in rows
    ]


async def _customs(conn: Any, order_id: UUID) -> list[str]:
    row = await conn.fetchrow(
        "SELECT d.state, d.present, d.created_at, d.waits_since, w.kind, w.since, w.group_key "
        "FROM customs.declaration d "
        "LEFT JOIN customs.waiting w USING (order_id) WHERE d.order_id = $1",
        order_id,
    )
    if row is None:
        return ["customs: it has no event of the order yet"]
    if row["state"] == "collecting":
        missing = [name for name in DOCUMENTS if name not in row["present"]]
        return (
            [f"{_named(missing)}: customs has waited since {_on(row['created_at'])}"]
            if missing
            else []
        )
    if row["kind"] is not None:
        return [await _lodging(conn, row)]
    return [await _port(conn, order_id, row["state"])] if row["state"] in DECIDED_BY_CUSTOMS else []


async def _lodging(conn: Any, row: Mapping[str, Any]) -> str:
    pause = await conn.fetchrow(
        "SELECT reason, code, since, next_at FROM customs.pause WHERE NOT over AND scope IN "
        "('*', $1) ORDER BY since LIMIT 1",
        row["group_key"],
    )
    if pause is None:
        return f"its {row['kind']} batch to close: it has waited since {_on(row['since'])}"
    whose = (
        "customs refuses our own signature or registration"
        if pause["reason"] == "ours"
        else "customs is down"
    )
    return (
        f"lodging: {whose} ({pause['code']}) since {_on(pause['since'])}, tried again "
        f"{_at(pause['next_at'])}"
    )


async def _port(conn: Any, order_id: UUID, state: str) -> str:
    word = await conn.fetchrow(
        "SELECT message_type, status, code, info, at FROM customs.receipt WHERE order_id = $1 "
        "ORDER BY id DESC LIMIT 1",
        order_id,
    )
    if word is None:
        return f"customs: the list is {state} and has no receipt yet"
    last_word = _joined(word["message_type"], word["status"], word["code"], word["info"])
    return f"customs' decision; its last reply: {last_word} {_at(word['at'])}"


def _named(missing: Sequence[str]) -> str:
    return (
        f"{', '.join(missing)} ({len(missing)} papers are missing)"
        if len(missing) > 1
        else f"{missing[0]} (a paper is missing)"
    )


def _joined(*parts: str | None) -> str:
    return " ".join(part for part in parts if part)


def _at(at: datetime) -> str:
    return f"at {_on(at)}"


def _on(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S%z}"
