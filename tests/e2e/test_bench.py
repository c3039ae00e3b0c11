"""The bench measures a stack that runs, and every figure it promises is there."""

from __future__ import annotations

import json

from tests.e2e.conftest import Running


async def test_the_bench_measures_a_running_stack(stack: Running) -> None:
    status, out, err = await stack.command(
        "bench", "--orders", "60", "--warm-up", "20", "--no-raw", "--json"
    )
    found = json.loads(out)
    assert status == 0, err
    assert (found["orders"], found["warm_up"], found["open"], found["violations"]) == (60, 20, 0, 0)
    assert found["fulfilled"] == 60
    assert found["orders_per_second"] > 0
    assert 0 < found["own_time_p50_ms"] <= found["own_time_p99_ms"]
    # Of one order at a time nothing is waited for but the batch, so its own part is far below the
    # whole.
    assert found["own_time_p50_ms"] < found["seconds"] * 1000
