"""Requests to cancel or return an order: on the topic, or by the database for bound parties."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import uuid4

from services.cli.connect import (
    Exit,
    RunningStack,
    UsageError,
    database,
    exit_with,
    print_err,
    producer,
    run,
    target,
)
from services.cli.order.lookup import find

_QUANTITY: Final = re.compile(r"[0-9]{1,14}(\.[0-9]{1,5})?")


def lines_of(text: str | None) -> list[dict[str, Any]]:
    """Return `1,2:3` as the lines of a return request; raise UsageError."""
    lines: list[dict[str, Any]] = []
    for part in text.split(",") if text is not None else ():
        number, _, quantity = part.strip().partition(":")
        if not (number.isascii() and number.isdecimal()) or (
            ":" in part and not _QUANTITY.fullmatch(quantity)
        ):
            raise UsageError(
                f"name lines as `1,2` or `1:2` (two of line 1): {part.strip()!r} is neither"
            )
        lines.append({"line_no": int(number)} | ({"quantity": quantity} if quantity else {}))
    return lines


def request(
    wire_type: str,
    order_ref: str,
    reason: str,
    platform: str | None,
    more: Mapping[str, Any] | None = None,
) -> None:
    no = run(_publish(target(), wire_type, order_ref, reason, platform, more or {}))
    print_err(f"requested; `crossborder order show {no}` shows the outcome")


async def _publish(
    to: RunningStack,
    wire_type: str,
    order_ref: str,
    reason: str,
    platform: str | None,
    more: Mapping[str, Any],
) -> str:
    import json

    from shared.clock import utc_now
    from shared.envelope import headers_of
    from shared.topics import SUBMISSIONS, named

    order_no = order_ref
    if platform is None:
        async with database(to) as conn:
            row = await find(conn, order_ref, to_change=True)
        order_no, platform = row["order_no"], row["platform_code"]
    at = utc_now()
    document = {
        "platform": {"code": platform},
        "order_no": order_no,
        "reason": reason,
        "requested_at": at.isoformat(timespec="milliseconds"),
        **more,
    }
    headers = headers_of(event_id=uuid4(), event_type=wire_type, source="crossborder-cli", at=at)
    value = json.dumps(document, ensure_ascii=False).encode()
    _require_readable(value, headers)
    if await _is_bound(to, platform):
        await _command(to, order_no, value, headers)
        return order_no
    async with producer(to) as out:
        await out.send_and_wait(
            named(SUBMISSIONS, to.prefix),
            value=value,
            key=order_no.encode(),
            headers=list(headers),
        )
    return order_no


async def _is_bound(to: RunningStack, platform: str) -> bool:
    from services.cli.access.parties import all_bound, is_bound

    if all_bound(to):
        return True
    async with database(to) as conn:
        return await is_bound(conn, platform)


async def _command(
    to: RunningStack, order_no: str, value: bytes, headers: Sequence[tuple[str, bytes]]
) -> None:
    """Write the request to the database: an operator has no key of a platform that signs."""
    from services.cli.operator_requests import operator, results_of
    from shared.clock import utc_now
    from shared.dead_letters import pack_record
    from shared.envelope import Record
    from shared.operator_requests import ask
    from shared.topics import SUBMISSIONS

    record = Record(
        SUBMISSIONS,
        0,
        0,
        int(utc_now().timestamp() * 1000),
        order_no.encode(),
        value,
        tuple(headers),
    )
    async with database(to, write=True) as conn:
        number = await ask(conn, "orders", "command", operator(), record=pack_record(record))
    result = (await results_of(to, [("orders", number)])).get(("orders", number))
    if result is None:
        print_err("start orders: it has not done yet what it is asked, and does it when it runs")
        exit_with(Exit.NO)
    if result["outcome"] != "done":
        raise UsageError(f"orders refused it: {result.get('error') or result.get('why')}")


def _require_readable(value: bytes, headers: Sequence[tuple[str, bytes]]) -> None:
    """Raise UsageError for a request that the intake would make a dead letter."""
    from services.orders.intake.decoding import read_submission
    from shared.errors import Unprocessable

    try:
        read_submission(value, headers)
    except Unprocessable as error:
        raise UsageError(f"mend the request, nothing was published: {error}") from None
