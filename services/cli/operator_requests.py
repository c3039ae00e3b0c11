"""Requests of an operator to a service: who asks, and what became of each request."""

from __future__ import annotations

import asyncio
import getpass
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from services.cli.connect import RunningStack, database

RequestId = tuple[str, int]
"""A service, and the number of a request in its schema."""


FOLLOWED_S: Final = 30.0
"""Seconds that a command waits for a service to carry out a request."""


POLL_S: Final = 0.2


def operator() -> str:
    with suppress(KeyError, OSError):
        return getpass.getuser()
    return "unknown"


async def results_of(
    to: RunningStack, requests: Sequence[RequestId], timeout_s: float = FOLLOWED_S
) -> dict[RequestId, Mapping[str, Any]]:
    """Return outcome and details by request; a request without a result in time is left out."""
    results: dict[RequestId, Mapping[str, Any]] = {}
    until = time.monotonic() + timeout_s
    async with database(to) as conn:
        while True:
            for service, number in set(requests) - results.keys():
                row = await conn.fetchrow(_RESULT.format(service), number)
                if row is not None:
                    results[service, number] = {"outcome": row["outcome"], **row["details"]}
            if len(results) == len(set(requests)) or time.monotonic() > until:
                return results
            await asyncio.sleep(POLL_S)


_RESULT: Final = "SELECT outcome, details FROM {0}.operator_result WHERE request_id = $1"
