"""docker-compose.yml brought up as it is: orders, rows, metrics, alerts, and what becomes of them
when containers go.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.grafana.boards import BOARDS
from deploy.grafana.panel import Board
from tests.compose.machine import Machine, say
from tests.compose.stack import PROGRAMS, SERVICES, Stack, until
from tests.watch import in_promql

pytestmark = pytest.mark.compose

PROFILES = ("minimal", "observability", "load", "tools")
ORDERS = 200
RATE = 200
RESTART_LOAD_S = 60
LAG_S = 15.0
SHOPS = "order_no NOT LIKE 'PROBE-%'"
"""The prober publishes an order a minute, whatever a test does."""
IMAGES_USER = {"kafka": "1000", "postgres": "999", "prometheus": "65534", "alertmanager": "65534"}


@pytest.fixture(scope="module")
def stack(machine: Machine, folder: Path) -> Iterator[Stack]:
    """Everything that can be had here, up and well."""
    made = Stack(machine, folder, "crossborder-test", "observability")
    with made.fresh() as seconds:
        say(f"up and well after {seconds:.0f} s: {', '.join(made.services)}")
        yield made


@pytest.mark.parametrize("profile", PROFILES)
def test_compose_resolves_the_profile(machine: Machine, folder: Path, profile: str) -> None:
    plain = Stack(machine, folder, "crossborder-test", profile)
    three = Stack(
        machine,
        folder,
        "crossborder-test",
        profile,
        ("docker-compose.yml", "docker-compose.three-brokers.yml"),
    )
    assert plain.config()["services"].keys() >= {"kafka", "postgres", *PROGRAMS}
    tls = Stack(
        machine,
        folder,
        "crossborder-test",
        profile,
        ("docker-compose.yml", "docker-compose.tls.yml"),
    )
    assert three.config()["services"].keys() == plain.config()["services"].keys() | {
        "kafka-2",
        "kafka-3",
    }
    assert tls.config()["services"].keys() == plain.config()["services"].keys()


def test_up_comes_back_when_jobs_are_done_and_the_rest_is_well(stack: Stack) -> None:
    for name in stack.services:
        state = stack.inspect(name)["State"]
        if name in {"keys", "migrate", "topics", "access"}:
            assert (state["Status"], state["ExitCode"]) == ("exited", 0), name
        else:
            assert state["Health"]["Status"] == "healthy", name


def test_containers_run_with_few_rights_and_in_bounds(stack: Stack) -> None:
    for name in stack.services:
        found = stack.inspect(name)
        host = found["HostConfig"]
        assert host["ReadonlyRootfs"], name
        assert host["CapDrop"] == ["ALL"], name
        assert "no-new-privileges:true" in host["SecurityOpt"], name
        assert host["Memory"] > 0, name
        assert host["LogConfig"]["Config"]["max-size"], name
        for ports in (found["NetworkSettings"]["Ports"] or {}).values():
            assert all(port["HostIp"] == "127.0.0.1" for port in ports or []), name
    for name in [n for n in stack.services if stack.inspect(n)["State"]["Running"]]:
        assert stack.inside(name, "id", "-u").strip() == IMAGES_USER.get(name, "10001"), name
        with pytest.raises(RuntimeError, match="Read-only file system"):
            stack.inside(name, "touch", "/written")
        rights = stack.inside(name, "sh", "-c", "grep CapEff /proc/1/status").split()[1]
        assert int(rights, 16) == 0, name


def test_orders_of_every_kind_come_to_their_ends_and_the_books_are_right(stack: Stack) -> None:
    stack.publish_every_kind(ORDERS, spread_s=10, seed=11)
    stack.verify()
    states = dict(stack.rows("SELECT state, count(*) FROM orders.orders GROUP BY state"))
    assert {"fulfilled", "rejected", "cancelled", "returned"} <= states.keys(), states
    assert sum(int(n) for n in states.values()) > 0.9 * ORDERS, "all but the unreadable ones"


def test_prometheus_sees_every_program_and_counts_what_the_tables_hold(stack: Stack) -> None:
    until(
        lambda: {s["program"] for s in stack.samples('up{job="crossborder"} == 1')} >= {*PROGRAMS},
        60,
        "every target is up",
    )
    held = {
        state: int(n)
        for state, n in stack.rows(
            f"SELECT state, count(*) FROM orders.orders WHERE {SHOPS} GROUP BY state"
        )
    }

    def counted() -> dict[str, int]:
        return {
            s["state"]: int(s[""])
            for s in stack.samples('sum by (state) (crossborder_orders_total{corridor!="probe"})')
        }

    ended = ("rejected", "cancelled", "returned")
    until(
        lambda: all(counted().get(state, 0) == held.get(state, 0) for state in ended),
        60,
        f"{counted()} becomes {held}",
    )
    # Whatever was returned had been fulfilled before, and is counted as both.
    assert held["fulfilled"] <= counted()["fulfilled"] <= held["fulfilled"] + held["returned"]
    assert stack.number("sum(crossborder_invariant_violations)") == 0


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_every_query_of_a_board_is_answered(stack: Stack, board: Board) -> None:
    """By the real Prometheus.

    Without a series are only rates of what did not happen and windows that are longer than this
    run.
    """
    asked = [
        (panel.title, in_promql(query.expr)) for panel in board.panels for query in panel.queries
    ]
    silent = [title for title, query in asked if not stack.samples(query)]
    say(f"{board.uid}: {len(asked)} queries, without a series: {', '.join(silent) or 'none'}")
    assert len(silent) < len(asked) / 2


def test_an_alert_fires_and_resolves_through_alertmanager(stack: Stack) -> None:
    """A program that hangs is noticed, and the alert ends when it goes on."""
    stack.compose("pause", "streams")
    try:
        found = until(
            lambda: stack.alerts(program="streams"),
            180,
            "an alert about streams is at Alertmanager",
        )
        say(f"firing: {', '.join(sorted(a['labels']['alertname'] for a in found))}")
        assert all(a["annotations"]["summary"] and a["annotations"]["description"] for a in found)
    finally:
        stack.compose("unpause", "streams")
    until(lambda: not stack.alerts(program="streams"), 240, "no alert about streams is left")
    until(lambda: stack.health("streams") == "healthy", 120, "streams is well")


def test_a_killed_container_comes_back_and_goes_on(stack: Stack) -> None:
    before = stack.inspect("customs")
    # Everything in the container but its first process, which then ends: a kill from outside counts
    # as a wish to stop.
    stack.compose("exec", "--no-TTY", "customs", "python", "-c", "import os; os.kill(-1, 9)")

    def back() -> bool:
        now = stack.inspect("customs")
        return bool(
            now["State"]["StartedAt"] > before["State"]["StartedAt"]
            and now["State"]["Health"]["Status"] == "healthy"
        )

    until(back, 120, "customs was started again and is well")
    assert stack.inspect("customs")["RestartCount"] == before["RestartCount"] + 1
    stack.cli("publish", "--count", "10", "--follow", "--timeout", "120")


def test_a_rolling_restart_under_load_loses_and_repeats_nothing(stack: Stack) -> None:
    """Each service in turn at 200 orders a second; the lag is gone 15 s after the last order."""
    count = RATE * RESTART_LOAD_S
    publishing = [
        "run",
        "--rm",
        "--no-TTY",
        "cli",
        "publish",
        "--count",
        str(count),
        "--rate",
        str(RATE),
    ]
    with stack.under_load(*publishing, "--follow", "--timeout", "300", "--json") as found:
        time.sleep(5)  # the load is there before the first one goes
        for service in SERVICES:
            began = time.monotonic()
            # As an upgrade does it: a new container with a name of its own.
            stack.compose("up", "--detach", "--no-deps", "--force-recreate", "--wait", service)
            say(f"{service} replaced and well in {time.monotonic() - began:.1f} s")
    assert found["published"] == count
    assert found["ends"] == {"fulfilled": count}, found["ends"]
    began = time.monotonic()
    until(lambda: stack.number("sum(crossborder_consumer_lag_records)") == 0, 60, "no lag")
    say(f"{count} orders in {found['seconds']:.0f} s; lag 0 after {time.monotonic() - began:.0f} s")
    assert time.monotonic() - began <= LAG_S
    stack.verify()


def test_the_profile_load_brings_steady_orders(
    stack: Stack, machine: Machine, folder: Path
) -> None:
    loaded = Stack(machine, folder, stack.project, "load")
    assert set(loaded.services) == {*stack.services, "load"}
    before = int(stack.rows("SELECT count(*) FROM orders.orders WHERE state = 'fulfilled'")[0][0])
    loaded.up("load")
    try:
        until(
            lambda: (
                int(
                    stack.rows("SELECT count(*) FROM orders.orders WHERE state = 'fulfilled'")[0][0]
                )
                >= before + 20
            ),
            90,
            "twenty more orders are fulfilled",
        )
        say(f"MiB of load: {loaded.memory()['load']}")
    finally:
        loaded.compose("rm", "--stop", "--force", "load")


def test_memory_stays_in_its_bounds_and_nothing_was_killed_for_it(stack: Stack) -> None:
    used = stack.memory()
    say(
        "MiB after load: "
        + ", ".join(f"{name} {mib}" for name, mib in sorted(used.items()))
        + f"; sum {sum(used.values())}"
    )
    for name in used:
        found: dict[str, Any] = stack.inspect(name)
        assert not found["State"]["OOMKilled"], name
        assert used[name] <= 0.9 * found["HostConfig"]["Memory"] / 1024 / 1024, name


def test_yesterdays_orders_are_there_after_down_and_up(stack: Stack) -> None:
    order_no = stack.rows(
        f"SELECT order_no FROM orders.orders WHERE {SHOPS} AND state = 'fulfilled' ORDER BY "
        "order_no LIMIT 1"
    )[0][0]
    counted = (
        f"SELECT state, count(*) FROM orders.orders WHERE {SHOPS} GROUP BY state ORDER BY state"
    )
    before = stack.rows(counted)
    shown = stack.cli("order", "show", order_no, "--json")
    stack.down()
    assert stack.compose("ps", "--all", "--quiet").strip() == ""
    stack.up()
    assert stack.rows(counted) == before
    assert stack.cli("order", "show", order_no, "--json") == shown
    stack.cli("publish", "--count", "5", "--follow", "--timeout", "120")
    stack.verify()
