"""The real Alertmanager with our file: what a dead broker, database, bank or process explains is held back, and nothing else is."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import httpx
import pytest
import yaml

from deploy.embedded.process import free_port
from tests.watch import ROOT, rules

START_S: Final = 20.0
SEEN_S: Final = 10.0
SAME: Final = 5
Labels = Mapping[str, str]
SEVERITY: Final = {rule["alert"]: rule["labels"]["severity"] for rule in rules() if "alert" in rule}


def alert(name: str, **labels: str) -> Labels:
    return {"alertname": f"Crossborder{name}", "severity": SEVERITY[f"Crossborder{name}"], **labels}


@pytest.fixture(scope="module")
def alertmanager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    program = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
    if program is None:
        pytest.skip(
            "Alertmanager is not installed (Debian: prometheus-alertmanager): what it holds back was NOT tried"
        )
    folder, port = tmp_path_factory.mktemp("alertmanager"), free_port()
    file = ROOT / "deploy/alertmanager/alertmanager.yml"
    options = {
        "config.file": file,
        "storage.path": folder,
        "web.listen-address": f"127.0.0.1:{port}",
        "cluster.listen-address": "",
    }
    with (folder / "log").open("wb") as log:
        child = subprocess.Popen(
            [program, *(f"--{name}={value}" for name, value in options.items())],
            stdout=log,
            stderr=log,
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v2", trust_env=False) as client:
            deadline = time.monotonic() + START_S
            while not _ready(client):
                assert time.monotonic() < deadline, (folder / "log").read_text()[-2000:]
                time.sleep(0.1)
            yield client
    finally:
        child.terminate()
        child.wait(10)


def _ready(client: httpx.Client) -> bool:
    try:
        return client.get("/status").status_code == 200
    except httpx.TransportError:
        return False


def held_back(client: httpx.Client, test: str, *alerts: Labels) -> set[str]:
    """The names of those that Alertmanager holds back while all of them fire, told apart from other tests' by `test`.

    It hears of an alert first and then of what it explains, so an answer counts once it has been the same for a while.
    """
    client.post(
        "/alerts", json=[{"labels": {**labels, "test": test}} for labels in alerts]
    ).raise_for_status()
    deadline = time.monotonic() + SEEN_S
    answers: list[set[str]] = []
    while len(answers) < SAME or answers[-SAME:] != [answers[-1]] * SAME:
        assert time.monotonic() < deadline, answers
        time.sleep(0.1)
        found = client.get("/alerts", params={"filter": f'test="{test}"'}).json()
        if len(found) == len(alerts):
            named = {
                each["labels"]["alertname"].removeprefix("Crossborder")
                for each in found
                if each["status"]["inhibitedBy"]
            }
            answers.append(named)
    return answers[-1]


def ended(client: httpx.Client, *alerts: Labels, test: str) -> None:
    at = "2000-01-01T00:00:00Z"
    gone = [{"labels": {**labels, "test": test}, "startsAt": at, "endsAt": at} for labels in alerts]
    client.post("/alerts", json=gone).raise_for_status()


ORDERS: Final = {"program": "orders", "instance": "a:1"}
CASES: Final = {
    "a dead broker explains what stands still": (
        [alert("KafkaDown"), alert("NoProgress", **ORDERS), alert("OutboxStuck", service="tax"), alert("TargetDown", **ORDERS),
         alert("InvariantBroken", invariant="x"), alert("BankDown"), alert("LedgerImbalance", currency="CNY")],
        {"NoProgress", "OutboxStuck", "TargetDown"},
    ),
    "a dead database explains what waits for it": (
        [alert("PostgresDown"), alert("BatchPastCutOff", kind="declare"), alert("InvariantNotChecked", invariant="x"),
         alert("PoolExhausted", **ORDERS), alert("DeadLettersGrowing", service="tax", topic="orders.events", reason="unexpected")],
        {"BatchPastCutOff", "InvariantNotChecked", "PoolExhausted"},
    ),
    "a silent bank explains what waits for it and not what the border does": (
        [alert("BankDown"), alert("BankOwesAnswers", service="payments"), alert("ReleasedTooLate", burn="fast"),
         alert("AuthoritySilent"), alert("CapturedTwice", burn="fast")],
        {"BankOwesAnswers", "ReleasedTooLate"},
    ),
    "a process that does not answer explains itself and no other": (
        [alert("TargetDown", **ORDERS), alert("PartitionStuck", **ORDERS, topic="tax.events", partition="1"),
         alert("NoProgress", program="tax", instance="b:1")],
        {"PartitionStuck"},
    ),
    "a faster burn says all that a slower one does, of the same promise": (
        [alert("CapturedTwice", burn="fast"), alert("OrdersLost", burn="slow"),
         {**alert("OrdersLost", burn="ticket"), "severity": "warning"}],
        {"OrdersLost"},
    ),
    "quotas are named once": (
        [alert("QuotaGuard", invariant="tax_quota_sums"), alert("InvariantBroken", invariant="tax_quota_sums")],
        {"InvariantBroken"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_something_greater_explains_is_held_back(
    alertmanager: httpx.Client, name: str
) -> None:
    alerts, wanted = CASES[name]
    try:
        assert held_back(alertmanager, name, *alerts) == wanted
    finally:
        ended(alertmanager, *alerts, test=name)


def test_each_alert_comes_to_the_receiver_of_its_severity(alertmanager: httpx.Client) -> None:
    every = [{**rule["labels"], "alertname": rule["alert"]} for rule in rules() if "alert" in rule]
    held_back(alertmanager, "receivers", *every)
    found = alertmanager.get("/alerts", params={"filter": 'test="receivers"'}).json()
    told = {each["labels"]["severity"]: {r["name"] for r in each["receivers"]} for each in found}
    assert told == {"critical": {"page"}, "warning": {"ticket"}, "none": {"heartbeat"}}
    assert len(found) == len(every)
    known = {
        receiver["name"]
        for receiver in yaml.safe_load(
            Path(ROOT / "deploy/alertmanager/alertmanager.yml").read_text()
        )["receivers"]
    }
    assert {r["name"] for each in found for r in each["receivers"]} == known
