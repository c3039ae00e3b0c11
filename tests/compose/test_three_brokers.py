"""docker-compose.three-brokers.yml: a broker is killed under load and nothing is lost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compose.machine import Machine, say
from tests.compose.stack import Stack, until

pytestmark = pytest.mark.compose

ORDERS = 1500
SPREAD_S = 60
ADMIN = ["--bootstrap-server", "localhost:19092", "--command-config", "/health.properties"]


@pytest.fixture(scope="module")
def stack(machine: Machine, folder: Path) -> Iterator[Stack]:
    made = Stack(
        machine,
        folder,
        "crossborder-test-three",
        "minimal",
        ("docker-compose.yml", "docker-compose.three-brokers.yml"),
    )
    with made.fresh() as seconds:
        say(f"three brokers up and well after {seconds:.0f} s")
        yield made


def under_replicated(stack: Stack, at: str = "kafka-2") -> list[str]:
    said = stack.inside(
        at, "/opt/kafka/bin/kafka-topics.sh", *ADMIN, "--describe", "--under-replicated-partitions"
    )
    return said.splitlines()


def test_every_topic_is_on_three_brokers(stack: Stack) -> None:
    said = stack.inside("kafka", "/opt/kafka/bin/kafka-topics.sh", *ADMIN, "--describe")
    heads = [line for line in said.splitlines() if "ReplicationFactor" in line]
    assert len(heads) > 10
    assert [line for line in heads if "ReplicationFactor: 3" not in line] == []
    assert [line for line in heads if "min.insync.replicas=2" not in line] == []
    assert under_replicated(stack) == []


def test_a_broker_killed_under_load_costs_nothing(stack: Stack) -> None:
    """The first broker, which every client was told first, and which leads a third of the
    partitions.
    """
    with stack.under_load(*stack.driving(ORDERS, SPREAD_S, seed=23)) as found:
        time.sleep(SPREAD_S / 3)
        stack.compose("kill", "--signal", "KILL", "kafka")
        less = until(lambda: under_replicated(stack), 60, "partitions have a copy less")
        say(f"killed kafka; {len(less)} partitions have a copy less")
        time.sleep(SPREAD_S / 3)
        stack.compose("start", "kafka")
        until(lambda: stack.health("kafka") == "healthy", 120, "the killed broker is well again")
    assert found == {"orders": found["orders"], "wrong": []}, found
    assert found["orders"] >= ORDERS
    until(
        lambda: not under_replicated(stack),
        120,
        "every partition is on three brokers again",
        every_s=3,
    )
    stack.verify()
    used = stack.memory()
    say(
        "MiB: "
        + ", ".join(f"{name} {mib}" for name, mib in sorted(used.items()))
        + f"; sum {sum(used.values())}"
    )
