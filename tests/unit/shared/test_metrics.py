"""Labels are closed, so whatever comes in, the number of series has a bound; and what is scraped is well formed."""

from __future__ import annotations

import ast
import random
import shutil
import string
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import pytest
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from services.customs import metrics as customs_metrics
from services.orders.domain.external_states import Stage
from shared import health, metrics, topics
from shared.errors import UNPROCESSABLE_REASONS, Unprocessable
from shared.events import Fault
from shared.events.customs import ListAccepted, ListRefused
from shared.subscriptions import EmittedEvent

ORDER = UUID(int=1)
ROOT = Path(__file__).resolve().parents[3]
SERIES_MAX = 6000
"""Of one process, were it all services at once; the bound of a family is below."""
FAMILY_MAX = 2500
PERSONAL = ("张三", "110101199003070038", "13800138000")


@pytest.fixture(scope="module", autouse=True)
def _begun() -> None:
    """What every service does when it starts."""
    customs_metrics.begin()
    for name in ("orders", "payments"):
        import_module(f"services.{name}.metrics").begin()


def series() -> dict[str, int]:
    """Series in a scrape, by family."""
    return {
        family.name: len(family.samples)
        for family in REGISTRY.collect()
        if family.name.startswith("crossborder")
    }


def odd(chance: random.Random) -> str:
    letters = string.printable + '张三"\\\n{}=,\x00'
    return "".join(chance.choice(letters) for _ in range(chance.randrange(40))) or chance.choice(
        PERSONAL
    )


def test_every_label_of_every_metric_has_a_closed_set() -> None:
    found = metrics.labelled()
    assert len(found) > 40
    assert {metric._name: set(metric._labelnames) - metric.closed_labels() for metric in found} == {
        metric._name: set() for metric in found
    }


def test_a_storm_of_odd_values_makes_no_more_series_than_the_sets_allow() -> None:
    chance = random.Random(7)
    for _ in range(400):
        for metric in metrics.labelled():
            child = metric.labels(
                *(
                    odd(chance) if name not in {"version", "invariant"} else "x"
                    for name in metric._labelnames
                )
            )
            getattr(child, "inc", None) and child.inc()
    for _ in range(500):
        metrics.LAG.labels(odd(chance), str(chance.randrange(10**6))).set(1)
    counted = series()
    assert max(counted.values()) <= FAMILY_MAX, max(counted.items(), key=lambda item: item[1])
    assert sum(counted.values()) <= SERIES_MAX


def test_a_person_in_a_label_s_place_reads_other() -> None:
    for person in PERSONAL:
        metrics.DEAD_LETTERS.labels("orders", topics.SUBMISSIONS, person).inc()
        metrics.ORDERS.labels("placed", f"{person}-CN").inc()
        metrics.EVENTS.labels("orders", topics.SUBMISSIONS, person, "ok").inc()
    page = generate_latest(REGISTRY).decode()
    assert not [person for person in PERSONAL if person in page]


def test_receipts_of_the_authority_are_counted_under_statuses_that_are_in_its_lists() -> None:
    def accepted(status: str) -> EmittedEvent:
        return EmittedEvent(
            ListAccepted(order_id=ORDER, cop_no="C1", status=status, info=""), ORDER, 1
        )

    customs_metrics.observe(
        [
            accepted("120"),
            accepted("-621005"),
            *(accepted(f"-{number}") for number in range(500, 900)),
        ]
    )
    receipts = {
        s.labels["status"]: s.value
        for m in metrics.RECEIPTS.collect()
        for s in m.samples
        if s.name.endswith("_total")
    }
    assert receipts["120"] >= 1
    assert receipts["-621005"] >= 1
    assert receipts["-n"] >= 400


def test_codes_our_own_rules_bring_are_shown_until_there_are_too_many_or_they_are_none() -> None:
    label = metrics.first(3)
    assert [label(code) for code in ("1332", "13800138000", "张三", "-303001", "tariff_unknown", "1313", "1332")] == [
        "1332", "other", "other", "-303001", "tariff_unknown", "other", "1332",
    ]  # fmt: skip


def test_every_state_of_an_order_is_in_the_label_s_set() -> None:
    assert set(Stage) == {*metrics.OPEN_STATES, *metrics.ENDS}


def test_every_reason_a_record_is_given_up_for_is_in_the_label_s_set() -> None:
    from shared.dead_letters import as_unprocessable

    assert as_unprocessable(ValueError("x")).reason in metrics.REASONS
    assert as_unprocessable(Unprocessable("too_large", "x")).reason in metrics.REASONS


REFUSE_BY = {"Unprocessable": 0, "XmlRefused": 1}
"""What refuses a record, and which argument is the reason."""


def reasons_written() -> set[str]:
    """Every reason that a program text gives, wherever it refuses a record."""
    found: set[str] = set()
    for path in (p for folder in ("services", "shared") for p in (ROOT / folder).rglob("*.py")):
        for call in (
            node
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(node, ast.Call)
        ):
            name = ast.unparse(call.func).rpartition(".")[2]
            place = 0 if name == "__init__" and path.name == "sign.py" else REFUSE_BY.get(name)
            if (
                place is not None
                and len(call.args) > place
                and isinstance(given := call.args[place], ast.Constant)
            ):
                found.add(str(given.value))
    return found


def test_the_metric_shows_every_reason_that_is_given_anywhere() -> None:
    written = reasons_written()
    assert written >= {"signature", "malformed", "integrity", "too_large", "illegal_transition"}
    assert written <= set(UNPROCESSABLE_REASONS)
    for metric in (metrics.DEAD_LETTERS, metrics.SET_ASIDE):
        assert {metric._closed("reason", reason) for reason in UNPROCESSABLE_REASONS} == set(
            UNPROCESSABLE_REASONS
        )


def test_a_list_that_cannot_be_printed_is_no_receipt_of_the_authority() -> None:
    """It was counted as a technical failure of the e-port, though no message ever left."""
    fault = Fault(
        field="declaration_list",
        rule="list_can_be_printed",
        found="no code",
        expected="a declarable list",
    )
    refused = ListRefused(order_id=ORDER, cop_no="X", status="", info="no code", faults=(fault,))

    def counted() -> float:
        return sum(sample.value for family in metrics.RECEIPTS.collect() for sample in family.samples
                   if sample.name.endswith("_total"))  # fmt: skip

    before = counted()
    customs_metrics.observe([EmittedEvent(refused, ORDER, 1)])
    assert counted() == before
    customs_metrics.observe([EmittedEvent(refused.model_copy(update={"status": "100"}), ORDER, 1)])
    assert counted() == before + 1


FRESH = """
from prometheus_client import REGISTRY
from shared import metrics, topics

metrics.begin("tax", {topics.ORDERS: ["order.placed.v1"], topics.RECEIPTS: []})
labels = {"service": "tax", "topic": topics.ORDERS}
assert REGISTRY.get_sample_value("crossborder_dead_letters_total", {**labels, "reason": "integrity"}) == 0
counted = {**labels, "event_type": "order.placed.v1", "outcome": "duplicate"}
assert REGISTRY.get_sample_value("crossborder_events_processed_total", counted) == 0

from services.customs import metrics as customs_metrics
from services.orders import streams

customs_metrics.begin()
streams.begin()
for labels in ({"message": "GoodsReleased", "status": "800"}, {"message": "ListReturned", "status": "100"}):
    assert REGISTRY.get_sample_value("crossborder_receipts_total", labels) == 0
assert REGISTRY.get_sample_value("crossborder_match_failures_total", {"code": "1332"}) == 0
assert REGISTRY.get_sample_value("crossborder_verified_sales_total", {"corridor": "US-CN"}) == 0
assert REGISTRY.get_sample_value("crossborder_verified_sales_total", {"corridor": "probe"}) is None
"""


def test_counters_stand_at_0_before_their_first_event() -> None:
    """In a process of its own: in this one other tests have counted."""
    subprocess.run([sys.executable, "-c", FRESH], check=True)


@pytest.mark.parametrize(
    ("traceparent", "found"),
    [
        (
            b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            {"trace_id": "0af7651916cd43dd8448eb211c80319c"},
        ),
        (b"00-00000000000000000000000000000000-b7ad6b7169203331-01", None),
        (b"00-0af7651916cd43dd8448eb211c8031\xff\xff-b7ad6b7169203331-01", None),
        (b"00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", None),
        ("张三".encode() * 10, None),
        (b"", None),
        (None, None),
    ],
)
def test_only_a_valid_traceparent_makes_an_exemplar(
    traceparent: bytes | None, found: dict[str, str] | None
) -> None:
    assert metrics.exemplar(traceparent) == found


@pytest.fixture
async def url() -> Any:
    runner, port = await health.serve("127.0.0.1", 0, ready={}, alive={})
    yield f"http://127.0.0.1:{port}/metrics"
    await runner.cleanup()


async def scrape(url: str, accept: str) -> tuple[str, str]:
    async with (
        aiohttp.ClientSession() as client,
        client.get(url, headers={"Accept": accept}) as response,
    ):
        return response.headers["Content-Type"], await response.text()


async def test_openmetrics_comes_with_exemplars_when_it_is_asked_for_and_only_then(
    url: str,
) -> None:
    trace = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    metrics.STAGE_SECONDS.labels("release", "US-CN").observe(3.0, metrics.exemplar(trace))
    kind, page = await scrape(url, "application/openmetrics-text; version=1.0.0; charset=utf-8")
    assert kind.startswith("application/openmetrics-text")
    assert page.endswith("# EOF\n")
    assert 'trace_id="0af7651916cd43dd8448eb211c80319c"' in page
    assert list(text_string_to_metric_families(page))  # type: ignore[no-untyped-call]
    kind, page = await scrape(url, "*/*")
    assert kind.startswith("text/plain")
    assert "trace_id" not in page


def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip(
            "promtool is not installed, so the metrics were NOT linted: apt-get install prometheus"
        )
    return found


def test_promtool_finds_nothing_to_mend() -> None:
    done = subprocess.run(
        [promtool(), "check", "metrics"],
        input=generate_latest(_ours()),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr).decode()
    assert (done.stdout + done.stderr).strip() == b""


def _ours() -> CollectorRegistry:
    """The project's families, those that only one process shows included; the client's own are not ours to mend."""

    class Ours(CollectorRegistry):
        def collect(self) -> Iterator[Any]:
            found = {
                family.name: family
                for family in REGISTRY.collect()
                if family.name.startswith("crossborder")
            }
            for metric in vars(metrics).values():
                if isinstance(metric, metrics._Closed):
                    found |= {family.name: family for family in metric.collect()}
            yield from found.values()

    return Ours()
