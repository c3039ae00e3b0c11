"""A synthetic order goes the whole way of a real one, and is no sale, nobody's quota and nobody's
number.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import aiohttp

from deploy.prober import ProbeSettings, once
from deploy.synthetic_order import NOBODY, SyntheticOrder
from services.cli import topic_reader
from services.orders.domain.sales_results import totals_of
from services.orders.intake.placed_order import PROBE
from shared.topics import SALES
from tests.e2e.conftest import Running

BOUND_S = 60.0


async def metric(stack: Running, program: str, start: str) -> float:
    url = f"http://127.0.0.1:{stack.stack.ports[program]}/metrics"
    async with aiohttp.ClientSession() as client, client.get(url) as response:
        page = await response.text()
    return sum(
        float(line.rpartition(" ")[2]) for line in page.splitlines() if line.startswith(start)
    )


async def sales(stack: Running) -> dict[str, Any]:
    return totals_of([(r.key, r.value) async for r in topic_reader.read(stack.target, [SALES])])


async def test_imports_and_exports_of_the_prober_are_fulfilled_and_left_out_of_the_sales(
    stack: Running,
) -> None:
    settings = ProbeSettings(kafka=stack.bootstrap, probe_late_s=BOUND_S)
    sold = "crossborder_verified_sales_total{"
    before, streamed = await metric(stack, "streams", sold), await sales(stack)
    done: list[SyntheticOrder] = []
    while {probe.direction for probe in done} < {"import", "export"}:
        done.append(await once(settings))
        assert done[-1].outcome == "fulfilled", done
    ids = [probe.order_id for probe in done]
    rows = await stack.fetch(
        "SELECT corridor, state, platform_code FROM orders.orders WHERE order_id = ANY($1)", ids
    )
    assert {tuple(row) for row in rows} == {(PROBE, "fulfilled", settings.probe_platform)}
    assert await metric(
        stack,
        "orders",
        f'crossborder_order_stage_seconds_count{{corridor="{PROBE}",stage="release"}}',
    ) == len(done)
    parties = await stack.fetch(
        "SELECT DISTINCT party FROM payments.journal WHERE order_id = ANY($1) AND party <> ''", ids
    )
    assert [row["party"] for row in parties] == [settings.probe_platform], (
        "their money stands under a merchant of its own"
    )

    status, out, err = await stack.command(
        "publish", "--sample", "cherries", "--count", "2", "--follow", "--json"
    )
    assert status == 0, err
    deadline = time.monotonic() + BOUND_S
    while await metric(stack, "streams", sold) < before + 2 and time.monotonic() < deadline:  # noqa: ASYNC110  of another process
        await asyncio.sleep(0.5)
    assert await metric(stack, "streams", sold) == before + 2, (
        "the sales of the shop count, those of the prober do not"
    )
    total = await sales(stack)
    assert PROBE not in total
    assert (
        sum(t.counts["fulfilled"] for t in total.values())
        == sum(t.counts["fulfilled"] for t in streamed.values()) + 2
    )
    status, out, err = await stack.command("verify", "--json")
    assert status == 0, out + err
    assert json.loads(out)


async def test_the_command_says_what_became_of_it(stack: Running) -> None:
    status, out, err = await stack.command("probe", "--json")
    assert status == 0, err
    found = json.loads(out)
    assert found["outcome"] == "fulfilled"
    assert 0 < found["seconds"] < 120
    status, out, _ = await stack.command("order", "show", found["order_no"], "--json")
    assert status == 0
    assert NOBODY[0] not in out
