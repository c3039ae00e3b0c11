"""What docs/compose.md tells operators to do, done: more of a service, new passwords, dead letters,
a backup and its restore.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from deploy import secrets
from tests.compose.machine import Machine, say
from tests.compose.stack import Stack, until

pytestmark = pytest.mark.compose

REPLICAS: Final = 3
LOAD: Final = 2000
RATE: Final = 50
KNOWS: Final = """
import asyncio, sys
from shared.access import knows
from shared.kafka import Security
print(asyncio.run(knows("kafka:19092", Security("SASL_PLAINTEXT", sys.argv[1], sys.argv[2]))))
"""
SHOPS: Final = (
    "SELECT order_no, state FROM orders.orders WHERE order_no NOT LIKE 'PROBE-%' ORDER BY order_no"
)


@pytest.fixture(scope="module")
def stack(machine: Machine, folder: Path) -> Iterator[Stack]:
    made = Stack(machine, folder, "crossborder-test", "observability")
    with made.fresh():
        yield made


def publishing(count: int) -> list[str]:
    rated = ["--count", str(count), "--rate", str(RATE), "--follow", "--timeout", "300", "--json"]
    return ["run", "--rm", "--no-TTY", "cli", "publish", *rated]


def flowing(stack: Stack, before: int) -> None:
    """Wait until the load's own container is up and its orders come: what it waits for must not be
    recreated meanwhile.
    """
    until(lambda: len(stack.rows(SHOPS)) > before, 120, "orders come", every_s=0.5)


def test_the_broker_has_the_rights_that_the_table_declares_and_no_other(stack: Stack) -> None:
    """The job's own user asks; exit 1 where they differ."""
    stack.compose("run", "--rm", "--no-TTY", "access", "services", "access", "show", "--broker")


def test_a_service_has_as_many_replicas_as_asked_while_orders_come(stack: Stack) -> None:
    def reading() -> list[float]:
        return [
            sample[""]
            for sample in stack.samples(
                'crossborder_consumer_assigned_partitions{program="customs"} > 0'
            )
        ]

    there = len(stack.rows(SHOPS))
    with stack.under_load(*publishing(LOAD)) as found:
        flowing(stack, there)
        stack.compose(
            "up", "--detach", "--wait", "--no-recreate", "--scale", f"customs={REPLICAS}", "customs"
        )
        shares = until(
            lambda: reading() if len(reading()) == REPLICAS else [], 60, f"{REPLICAS} replicas read"
        )
        say(f"customs shares its partitions: {shares}")
        stack.compose(
            "up", "--detach", "--wait", "--no-recreate", "--scale", "customs=1", "customs"
        )
        until(
            lambda: len(reading()) == 1 and sum(reading()) == sum(shares),
            60,
            "the one that is left reads all of them",
        )
    assert (found["published"], found["ends"]) == (LOAD, {"fulfilled": LOAD}), found
    stack.verify()


def test_the_passwords_of_a_service_are_renewed_while_orders_come(stack: Stack) -> None:
    names = ("postgres_tax", "kafka_tax")
    old = {name: (stack.folder / "secrets" / name).read_text() for name in names}
    there = len(stack.rows(SHOPS))
    with stack.under_load(*publishing(LOAD)) as found:
        flowing(stack, there)
        for name in names:
            (stack.folder / "secrets" / name).unlink()
        secrets.main(stack.folder / "secrets")
        stack.compose("up", "--detach", "--force-recreate", "migrate", "access", "tax")
    assert found["ends"] == {"fulfilled": LOAD}, found
    new = {name: (stack.folder / "secrets" / name).read_text() for name in names}
    for password, lets_in in ((old, False), (new, True)):
        answer = stack.compose(
            "run",
            "--rm",
            "--no-TTY",
            "--no-deps",
            "--entrypoint",
            "python",
            "cli",
            "-c",
            KNOWS,
            "tax",
            password["kafka_tax"],
        )
        assert answer.strip() == str(lets_in)
    url = "postgresql://crossborder_tax:{}@postgres/crossborder"
    assert (
        stack.inside(
            "postgres", "psql", url.format(new["postgres_tax"]), "-Atc", "SELECT 1"
        ).strip()
        == "1"
    )
    with pytest.raises(RuntimeError, match="password authentication failed"):
        stack.inside("postgres", "psql", url.format(old["postgres_tax"]), "-c", "SELECT 1")
    until(lambda: stack.health("tax") == "healthy", 120, "tax is well")


def test_dead_letters_are_listed_given_again_and_let_go(stack: Stack) -> None:
    stack.cli("publish", "--sample", "malformed")
    owed = "sum(crossborder_dead_letters_unreplayed_records)"
    until(lambda: stack.number(owed) >= 1, 60, "a dead letter is owed")
    until(lambda: stack.alerts(alertname="CrossborderDeadLettersGrowing"), 60, "somebody is told")
    letters = json.loads(stack.cli("dlq", "list", "--reason", "malformed", "--json"))
    assert {letter["reason"] for letter in letters} == {"malformed"}
    stack.cli("dlq", "replay", "--reason", "malformed")
    until(lambda: stack.number(owed) >= 1, 60, "what cannot be read is given up once more")
    stack.cli("dlq", "drop", "--reason", "malformed")
    until(lambda: stack.number(owed) == 0, 60, "nothing is owed any longer")


def test_a_backup_brings_back_all_there_was(stack: Stack, tmp_path: Path) -> None:
    stack.cli("publish", "--count", "20", "--follow", "--timeout", "120")
    stack.compose("stop", "probe")
    stack.verify()
    before = stack.rows(SHOPS)
    shown = stack.cli("order", "show", before[0][0], "--json")
    copies = {name: tmp_path / f"{name}.tar" for name in ("postgres", "keys")}
    stack.piped(
        "exec",
        "-T",
        "postgres",
        "pg_basebackup",
        "-U",
        "postgres",
        "-D",
        "-",
        "-F",
        "tar",
        "-X",
        "fetch",
        "-c",
        "fast",
        to=copies["postgres"],
    )
    stack.piped(
        "run",
        "--rm",
        "-T",
        "--no-deps",
        "--entrypoint",
        "tar",
        "keys",
        "-c",
        "-C",
        "/keys",
        ".",
        to=copies["keys"],
    )
    stack.down()
    stack.machine.docker("volume", "rm", f"{stack.project}_postgres", f"{stack.project}_keys")
    stack.piped(
        "run",
        "--rm",
        "-T",
        "--no-deps",
        "--entrypoint",
        "tar",
        "keys",
        "-x",
        "-C",
        "/keys",
        given=copies["keys"],
    )
    unpack = 'install -d -m 0700 "$PGDATA" && tar -x -C "$PGDATA"'
    stack.piped(
        "run",
        "--rm",
        "-T",
        "--no-deps",
        "--entrypoint",
        "sh",
        "postgres",
        "-ec",
        unpack,
        given=copies["postgres"],
    )
    stack.up()
    assert stack.rows(SHOPS) == before
    assert stack.cli("order", "show", before[0][0], "--json") == shown
    stack.cli("publish", "--count", "20", "--seed", "31", "--follow", "--timeout", "120")
    stack.verify()
