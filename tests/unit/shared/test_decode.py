"""Whatever stands in a record's headers, it is read or given up, and what goes on is bounded."""

from __future__ import annotations

import json
from typing import Any

import pytest

from deploy.samples import submission
from services.orders import reactions
from shared import topics
from shared.envelope import Record, traceparent_of
from shared.handler import Handler

TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ORDER = json.dumps(submission("cherries", 1, seed=1)).encode()


def orders() -> Handler:
    return Handler("orders", topics.ORDERS, reactions.HEARS, None, None, sealing=None)  # type: ignore[arg-type]


def record(value: bytes = ORDER, *headers: tuple[str, bytes], **changes: Any) -> Record:
    return Record(topics.SUBMISSIONS, 0, 5, changes.get("timestamp_ms", 1_700_000_000_000), b"k", value, headers)


@pytest.mark.parametrize(
    "value",
    [
        b"x" * 1_000_000, TRACE + b"-more", TRACE[:-1], TRACE.upper(), b"ff" + TRACE[2:], TRACE.replace(b"-", b"_"), TRACE + b"\n",
        b"00-" + b"0" * 32 + TRACE[35:], b"\xff" * 55, b"",
    ],
)  # fmt: skip
def test_only_a_well_formed_trace_goes_on(value: bytes) -> None:
    assert traceparent_of(value) is None
    (found,) = orders().decode(record(ORDER, ("traceparent", value)))  # type: ignore[misc]
    assert found.traceparent is None
    (found,) = orders().decode(record(ORDER, ("traceparent", TRACE)))  # type: ignore[misc]
    assert found.traceparent == TRACE
