"""Live scrapes: well formed, bounded whatever is written to the intake, and with nothing of it in
them.
"""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import subprocess
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import aiohttp
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from deploy.samples import submission
from shared.topics import SUBMISSIONS, WAYBILLS
from tests.e2e.conftest import Running

SERIES_MAX: Final = 2500
"""Of one process: orders has most, the stages of each corridor."""
FAMILY_MAX: Final = 1300
AT: Final = datetime.now(UTC) - timedelta(hours=1)
WORDS: Final = (
    "张三",
    "110101199003070038",
    "PL4NTED",
    "<script>",
    'quo"te',
    "new\nline",
    "{le=1}",
    "\x7f",
    "XX",
    "zz-zz",
    "ÄÖ",
    "'; drop",
)
OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def odd(
    number: int, chance: random.Random
) -> tuple[bytes | None, bytes, tuple[tuple[str, bytes], ...]]:
    """A submission or something like it, with a surprise in every place from which a label could be
    made.
    """
    made: dict[str, Any] = submission("cherries", number, seed=5, prefix="ODD", at=AT)
    word = f"{chance.choice(WORDS)}{number}"
    places: list[tuple[Any, str, Any]] = [
        (made, "direction", word),
        (made, "mode", word),
        (made, "currency", word),
        (made["merchant"], "country", word),
        (made["consignee"], "country", word),
        (made["lines"][0], "origin", word),
        (made["platform"], "code", word),
        (made, word, word),
        (
            made["merchant"],
            "country",
            chance.choice(("BR", "ZA", "IS", "FJ", "NG", "PE", "LA", "KE")),
        ),
        (made["payment"], "token", f"tok_{word}"),
        (made["lines"][0], "hs_code", word),
        (made["lines"][0], "currency", word),
    ]
    for holder, name, value in chance.sample(places, chance.randrange(1, 4)):
        holder[name] = value
    headers = [
        ("ce_type", word.encode()),
        ("traceparent", word.encode()),
        ("ce_id", word.encode()),
        (word, b"x"),
    ]
    value = json.dumps(made, ensure_ascii=False).encode()
    return (
        word.encode(),
        value[: chance.choice((len(value), len(value), 80))],
        tuple(chance.sample(headers, chance.randrange(0, 3))),
    )


async def scrape(stack: Running, program: str, accept: str = "*/*") -> str:
    url = f"http://127.0.0.1:{stack.stack.ports[program]}/metrics"
    async with (
        aiohttp.ClientSession() as client,
        client.get(url, headers={"Accept": accept}) as response,
    ):
        assert response.status == 200
        return await response.text()


def families(page: str) -> Counter[str]:
    """Series of a page by family: of a histogram its buckets, sum and count together."""
    found: Counter[str] = Counter()
    for line in page.splitlines():
        if line and not line.startswith("#"):
            name = line.partition("{")[0].partition(" ")[0]
            found[name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count")] += 1
    return found


async def settled(stack: Running) -> None:
    """Wait until the intake is read."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        await asyncio.sleep(2.5)
        pages = [await scrape(stack, program) for program in ("orders", "customs")]
        lags = [
            line
            for page in pages
            for line in page.splitlines()
            if line.startswith("crossborder_consumer_lag_records{")
        ]
        if lags and all(float(line.rpartition(" ")[2]) == 0 for line in lags):
            return
    raise TimeoutError("the intake was not read within a minute")


async def test_a_storm_of_odd_inputs_makes_no_more_series_and_leaves_no_word_of_it(
    stack: Running,
) -> None:
    chance = random.Random(11)
    before = {
        program: sum(families(await scrape(stack, program)).values())
        for program in stack.stack.programs
    }
    await stack.publish(SUBMISSIONS, *(odd(number, chance) for number in range(600)))
    await stack.publish(WAYBILLS, *(odd(number, chance) for number in range(100)))
    await settled(stack)
    for program in stack.stack.programs:
        page = await scrape(stack, program)
        found = families(page)
        assert sum(found.values()) <= SERIES_MAX, (program, before[program], found.most_common(5))
        assert max(found.values()) <= FAMILY_MAX, (program, found.most_common(3))
        assert not [word for word in WORDS if len(word) > 3 and word in page], program
    orders = await scrape(stack, "orders")
    assert 'crossborder_orders_total{corridor="other"' in orders


async def test_every_page_is_openmetrics_when_asked_and_ends_as_such(stack: Running) -> None:
    for program in stack.stack.programs:
        page = await scrape(stack, program, OPENMETRICS)
        assert page.endswith("# EOF\n"), program
        assert list(text_string_to_metric_families(page)), program  # type: ignore[no-untyped-call]


async def test_promtool_finds_nothing_to_mend_in_any_page(stack: Running) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip(
            "promtool is not installed, so the pages were NOT linted: apt-get install prometheus"
        )
    for program in stack.stack.programs:
        page = await scrape(stack, program)
        done = subprocess.run(
            [promtool, "check", "metrics"],
            input=page.encode(),
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, (done.stdout + done.stderr).decode()) == (0, ""), program
