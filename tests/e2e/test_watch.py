"""What rules, boards and runbooks ask for is what the running programs show."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
from collections.abc import AsyncIterator, Iterable
from typing import Final

import httpx
from prometheus_client.parser import text_string_to_metric_families

from deploy.embedded.process import free_port
from tests.e2e.conftest import Running
from tests.watch import CONTRACT, ROOT, board_queries, names_in, queries, rules, runbook_queries

PROMETHEUS: Final = {
    "up",
    "ALERTS",
    "scrape_duration_seconds",
    "scrape_samples_post_metric_relabeling",
    "prometheus_rule_evaluation_failures_total",
}
"""What Prometheus makes by itself."""
RARE: Final = re.compile(r"crossborder_(verified_sales_minor|sandbox_operations)_total")
"""Their labels are codes and corridors that only some orders have: declared from the start, a
series from the first on.
"""


def asked() -> set[str]:
    """Every series that a rule, a panel or a runbook reads, but those that rules record."""
    pages = [page.read_text() for page in (ROOT / "docs/runbooks").glob("*.md")]
    shown = [query for page in pages for query in runbook_queries(page)]
    found = {name for query in (*queries(), *board_queries(), *shown) for name in names_in(query)}
    return found - {rule["record"] for rule in rules() if "record" in rule} - PROMETHEUS


async def scraped(ports: Iterable[int]) -> tuple[set[str], set[str]]:
    """The series that are there, and the families that are declared, over all programs."""
    series: set[str] = set()
    families: set[str] = set()
    async with httpx.AsyncClient() as client:
        for port in ports:
            page = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
            for family in text_string_to_metric_families(page):
                families.add(f"{family.name}_total" if family.type == "counter" else family.name)
                series |= {sample.name for sample in family.samples}
    return series, families


@contextlib.asynccontextmanager
async def prober(stack: Running) -> AsyncIterator[int]:
    """The prober, which the stack of the tests leaves out; yields the port of its metrics."""
    port = free_port()
    env = {**os.environ, **stack.stack.child_env("probe"), "CROSSBORDER_METRICS_PORT": str(port)}
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "deploy.probe", env=env, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield port
    finally:
        child.terminate()
        await child.wait()


async def test_every_metric_of_rules_boards_runbooks_and_scripts_is_in_a_live_scrape(
    stack: Running,
) -> None:
    wanted = missing = asked() | CONTRACT.keys()
    assert len(wanted) > 50
    async with prober(stack) as port:
        ports = [stack.ports[program] for program in stack.stack.programs if program != "probe"] + [
            port
        ]
        for _ in range(
            80
        ):  # gauges that need a look into the database come within a quarter of a minute
            with contextlib.suppress(httpx.ConnectError):
                series, families = await scraped(ports)
                missing = {
                    name
                    for name in wanted - series
                    if not (RARE.fullmatch(name) and name in families)
                }
                if not missing:
                    break
            await asyncio.sleep(0.5)
    assert not missing


async def test_what_a_service_stands_on_is_shown_as_there(stack: Running) -> None:
    for service in ("orders", "payments", "tax", "customs"):
        async with httpx.AsyncClient() as client:
            page = (await client.get(f"http://127.0.0.1:{stack.ports[service]}/metrics")).text
        for dependency in ("kafka", "postgres"):
            assert (
                f'crossborder_dependency_up{{dependency="{dependency}",service="{service}"}} 1.0'
                in page
            )
