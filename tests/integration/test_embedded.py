"""The embedded broker, database, supervisor and stack: what survives kill -9, what is said otherwise."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from deploy.embedded import home as embedded_home
from deploy.embedded import ports
from deploy.embedded.java import find_java, resolve_jars
from deploy.embedded.kafka import EmbeddedKafka, wait_led
from deploy.embedded.postgres import SOCKET, EmbeddedPostgres
from deploy.embedded.stack import Stack
from deploy.embedded.supervisor import Program, Supervisor
from services.cli.stack import readiness
from shared.errors import Misconfigured
from shared.topics import Topic, create_topics

FOREVER = (sys.executable, "-c", "import time\nwhile True: time.sleep(1)")
IGNORES_SIGTERM = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('deaf', flush=True)\nwhile True: time.sleep(1)"
DEAF = (sys.executable, "-c", IGNORES_SIGTERM)


async def until(is_so: Callable[[], bool], timeout_s: float = 15) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline, "it did not become so in time"
        await asyncio.sleep(0.02)


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield int(listener.getsockname()[1])


@pytest.fixture
async def supervisor(tmp_path: Path) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(tmp_path / "logs", backoff_s=(0.05, 0.1))
    yield supervisor
    await supervisor.stop()


async def consume(bootstrap: str, topic: str, count: int) -> list[bytes | None]:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        async with asyncio.timeout(20):
            return [(await consumer.getone()).value for _ in range(count)]
    finally:
        await consumer.stop()


async def test_kafka_keeps_acknowledged_messages_over_kill_and_a_changed_port(
    tmp_path: Path,
) -> None:
    kafka = EmbeddedKafka(tmp_path)
    await kafka.start()
    try:
        made = await create_topics(kafka.bootstrap, "kept.", extra=[Topic("mine", (), ())])
        await wait_led(kafka.bootstrap, made)
        producer = AIOKafkaProducer(
            bootstrap_servers=kafka.bootstrap, acks="all", enable_idempotence=True
        )
        await producer.start()
        for number in range(100):
            await producer.send_and_wait("kept.mine", str(number).encode(), partition=0)
        await producer.stop()
        first = kafka.pid
        kafka.kill()
        assert not kafka.running
        kafka = EmbeddedKafka(tmp_path)
        await kafka.start()
        assert kafka.pid != first
        assert await consume(kafka.bootstrap, "kept.mine", 100) == [
            str(n).encode() for n in range(100)
        ]
    finally:
        await kafka.stop()


async def test_postgres_keeps_committed_rows_over_kill(tmp_path: Path) -> None:
    postgres = EmbeddedPostgres(tmp_path)
    await postgres.start()
    try:
        dsn = await postgres.ensure_database("kept")
        conn = await asyncpg.connect(dsn)
        await conn.execute("CREATE TABLE kept (n int)")
        await conn.executemany("INSERT INTO kept VALUES ($1)", [(n,) for n in range(100)])
        assert await conn.fetchval("SHOW fsync") == "on"
        assert await conn.fetchval("SHOW synchronous_commit") == "on"
        assert await conn.fetchval("SHOW data_checksums") == "on"
        postgres.kill()
        conn.terminate()
        await postgres.start()
        conn = await asyncpg.connect(dsn)
        assert await conn.fetchval("SELECT count(*) FROM kept") == 100
        await conn.close()
    finally:
        await postgres.stop()


async def test_postgres_starts_below_a_path_too_long_for_a_socket(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 60) / ("y" * 60)
    assert len(str(deep / SOCKET)) > 107
    postgres = EmbeddedPostgres(deep)
    await postgres.start()
    conn = await asyncpg.connect(postgres.dsn())
    await conn.close()
    await postgres.stop()
    assert not postgres.running


async def test_a_taken_port_is_named_with_the_setting_that_moves_it(
    tmp_path: Path, taken_port: int
) -> None:
    with pytest.raises(
        Misconfigured, match=f"port {taken_port} for Kafka is taken.*CROSSBORDER_KAFKA_PORT"
    ):
        await EmbeddedKafka(tmp_path, taken_port).start()


def test_a_missing_java_is_said_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(Misconfigured, match="install Java 17 or newer"):
        find_java()


def test_an_old_java_is_refused_with_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\" 2019-01-15' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(Misconfigured, match=r"install Java 17 or newer.* is 11"):
        find_java()


def test_a_missing_maven_is_said_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Misconfigured, match="install Maven"):
        resolve_jars(tmp_path / "libs")


def test_preflight_says_one_sentence_and_fails_without_java(tmp_path: Path) -> None:
    environment = {"PATH": str(tmp_path)}
    said = subprocess.run(
        [sys.executable, "deploy/preflight.py"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 1
    assert said.stderr.startswith("Install Java 17 or newer")
    assert len(said.stderr.splitlines()) == 1


async def test_a_killed_child_is_started_anew_and_counted(supervisor: Supervisor) -> None:
    supervisor.start(Program("child", FOREVER))
    first = supervisor.pid("child")
    supervisor.kill("child")
    await until(lambda: supervisor.pid("child") not in (None, first))
    (status,) = supervisor.status()
    assert (status.state, status.restarts, status.exit_code) == ("running", 1, -9)


async def test_a_child_that_ends_well_without_being_asked_is_started_anew(
    supervisor: Supervisor,
) -> None:
    supervisor.start(Program("child", (sys.executable, "-c", "print('here')")))
    await until(lambda: supervisor.status()[0].restarts >= 2)
    (status,) = supervisor.status()
    assert (status.state in {"running", "waiting"}, status.exit_code) == (True, 0)
    (ended,) = await supervisor.stop()
    assert ended.state == "stopped"


async def test_a_child_that_says_misconfigured_is_not_started_anew(supervisor: Supervisor) -> None:
    supervisor.start(
        Program("child", (sys.executable, "-c", "print('set it right'); raise SystemExit(2)"))
    )
    await until(lambda: supervisor.status()[0].state == "failed")
    (status,) = supervisor.status()
    assert status.restarts == 0
    assert "set it right" in status.log.read_text()


async def test_stop_ends_all_children_also_one_that_ignores_it(supervisor: Supervisor) -> None:
    supervisor.start(Program("good", FOREVER))
    supervisor.start(Program("deaf", DEAF))
    await until(lambda: "deaf" in supervisor.status()[1].log.read_text())
    pids = [status.pid for status in supervisor.status()]
    ended = await supervisor.stop(timeout_s=0.5)
    assert [(s.state, s.pid, s.exit_code) for s in ended] == [
        ("stopped", None, -15),
        ("stopped", None, -9),
    ]
    assert not any(psutil.pid_exists(pid) for pid in pids if pid)


async def test_children_die_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    script = (
        "import asyncio, sys, pathlib\nfrom deploy.embedded.supervisor import Program, Supervisor\n"
        "async def main():\n s = Supervisor(pathlib.Path(sys.argv[1]))\n"
        " s.start(Program('child', [sys.executable, '-c', 'import time; time.sleep(600)']))\n"
        " print(s.pid('child'), flush=True)\n await asyncio.sleep(600)\nasyncio.run(main())"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(await asyncio.to_thread(parent.stdout.readline))
        assert psutil.pid_exists(child)
        parent.kill()
    await until(
        lambda: (
            not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE
        )
    )


def commands_of(home: Path) -> list[str]:
    """The command lines of the processes that have to do with a folder."""
    lines = [" ".join(p.info["cmdline"] or ()) for p in psutil.process_iter(["cmdline"])]
    return [line for line in lines if str(home) in line]


async def test_a_stack_starts_prepared_writes_itself_down_and_leaves_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ports.PORTS:
        monkeypatch.setenv(ports.port_setting(name), "0")
    stack = Stack(home, programs=())
    await stack.start()
    try:
        found = embedded_home.find(home)
        assert (found["kafka"], found["postgres"], found["pid"]) == (
            stack.kafka.bootstrap,
            stack.dsn,
            os.getpid(),
        )
        assert await create_topics(found["kafka"]) == []
        conn = await asyncpg.connect(found["postgres"])
        assert await conn.fetchval("SELECT count(*) FROM migrations.applied") > 0
        await conn.close()
        with pytest.raises(
            Misconfigured, match=f"already runs in .*process {os.getpid()}.*crossborder down"
        ):
            await Stack(home, programs=()).start()
        assert {s.name: s.state for s in stack.status()} == {
            "kafka": "running",
            "postgres": "running",
        }
    finally:
        await stack.stop()
    assert embedded_home.find(home) == {}
    assert not stack.kafka.running
    assert not stack.postgres.running


async def test_broker_and_database_that_end_by_themselves_are_started_anew_and_given_up_when_they_cannot(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ports.PORTS:
        monkeypatch.setenv(ports.port_setting(name), "0")
    said: list[str] = []
    stack = Stack(home, programs=(), report=said.append)
    await stack.start()
    try:
        for name, server in (("kafka", stack.kafka), ("postgres", stack.postgres)):
            assert server.pid is not None
            os.kill(server.pid, signal.SIGKILL)

            def restarts(name: str = name) -> int:
                return int(embedded_home.find(home)["programs"][name]["restarts"])

            await until(lambda: restarts() == 1, 40)
            assert server.running
        rows = {row["name"]: row for row in await readiness.programs(embedded_home.find(home))}
        assert {name: (row["state"], row["ready"]) for name, row in rows.items()} == dict.fromkeys(
            rows, ("running", True)
        )
        assert await create_topics(stack.kafka.bootstrap) == [], (
            "the broker has the topics of before"
        )
        (home / "kafka" / "data" / "meta.properties").write_text("of another\n")
        os.kill(rows["kafka"]["pid"], signal.SIGKILL)
        await until(lambda: not stack.kafka.running)
        row = next(
            row
            for row in await readiness.programs(embedded_home.find(home))
            if row["name"] == "kafka"
        )
        assert (row["state"], row["ready"]) == ("waiting", False)
        async with asyncio.timeout(60):
            await stack.lost.wait()
        assert said[-1].startswith(
            f"look at {home / 'logs' / 'kafka.log'}: kafka does not stay up, so the stack is stopped"
        )
    finally:
        await stack.stop()
    assert not stack.postgres.running


async def test_a_paused_broker_is_said_not_to_answer(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ports.PORTS:
        monkeypatch.setenv(ports.port_setting(name), "0")
    stack = Stack(home, programs=())
    await stack.start()
    try:
        stack.kafka.pause()
        rows = {
            row["name"]: (row["state"], row["ready"])
            for row in await readiness.programs(embedded_home.find(home))
        }
        assert rows == {"kafka": ("running", False), "postgres": ("running", True)}
    finally:
        stack.kafka.resume()
        await stack.stop()


async def test_a_stack_whose_database_cannot_start_leaves_no_broker(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ports.PORTS:
        monkeypatch.setenv(ports.port_setting(name), "0")
    stack = Stack(home, programs=())
    stack.postgres.data.mkdir(parents=True)
    (stack.postgres.data / "not-of-postgresql").touch()
    with pytest.raises(Misconfigured, match="PostgreSQL cannot make its data"):
        await stack.start()
    # The broker's storage is being formatted by a program that ends by itself.
    await until(lambda: not [line for line in commands_of(home) if "StorageTool" in line], 60)
    await asyncio.sleep(1)  # a start that went on beside it would have its process by now
    assert not stack.kafka.running
    assert commands_of(home) == []
    assert embedded_home.find(home) == {}


def test_a_stack_that_was_killed_is_not_found_running(home: Path) -> None:
    (home / "stack.json").write_text(json.dumps({"pid": 2**22 + 1, "kafka": "127.0.0.1:1"}))
    assert embedded_home.find(home) == {}


def test_a_port_that_is_none_names_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSBORDER_ORDERS_PORT", "many")
    with pytest.raises(Misconfigured, match="CROSSBORDER_ORDERS_PORT"):
        ports.ports_from_environment()
