"""The command line without a stack: usage, input, unreachability, and a first line that says what to do."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.embedded import ports
from deploy.embedded import stack as stacks
from deploy.embedded.process import free_port
from services.cli.app import app
from services.cli.doctor import database, machine, stack
from services.cli.submission_files import read_file
from shared.errors import Misconfigured

NEEDS_A_STACK = [
    ["status"], ["order", "list"], ["order", "show", "X-1"], ["order", "cancel", "X-1"], ["order", "return", "X-1"],
    ["watch", "--once"], ["dlq", "list"], ["dlq", "show", "orders.submissions.dead-letters/0/0"], ["dlq", "replay", "--all"],
    ["verify", "--wait", "0"], ["migrate"], ["topics"],
]  # fmt: skip
ROOT = Path(__file__).resolve().parents[3]
SUBMISSION = {"order_no": "CLI-1", "platform": {"code": "1105910159"}}


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder and no settings."""
    for name in ("KAFKA", "POSTGRES", "KEYS", "TOPIC_PREFIX"):
        monkeypatch.delenv(f"CROSSBORDER_{name}", raising=False)
    monkeypatch.setenv("CROSSBORDER_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def deaf(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings that point where nobody answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("CROSSBORDER_KAFKA", f"127.0.0.1:{port}")
    monkeypatch.setenv(
        "CROSSBORDER_POSTGRES", f"postgresql://nobody:secret@127.0.0.1:{port}/nothing"
    )
    return nowhere


@pytest.fixture
def taken() -> Iterator[int]:
    """A port somebody listens on."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        yield held.getsockname()[1]


def ask(*words: str) -> tuple[int, str, str]:
    found = CliRunner().invoke(app, list(words))
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    return found.exit_code, found.stdout, found.stderr


@pytest.mark.parametrize("words", NEEDS_A_STACK, ids=" ".join)
def test_without_a_stack_every_command_says_how_to_start_one(
    nowhere: Path, words: list[str]
) -> None:
    status, out, err = ask(*words)
    assert (status, out) == (3, "")
    assert err.startswith("start the stack with `crossborder up`")
    assert err.count("\n") == 1


@pytest.mark.parametrize("words", [w for w in NEEDS_A_STACK if w[0] != "status"], ids=" ".join)
def test_an_address_where_nobody_answers_is_named_in_one_sentence(
    deaf: Path, words: list[str]
) -> None:
    status, out, err = ask(*words)
    assert (status, out) == (3, "")
    assert err.startswith("start ")
    assert "127.0.0.1:" in err
    assert "secret" not in err
    assert err.count("\n") == 1


def test_help_names_every_command() -> None:
    status, out, _ = ask("--help")
    assert status == 0
    for name in (
        "up",
        "down",
        "status",
        "publish",
        "order",
        "tax",
        "customs",
        "dlq",
        "verify",
        "bench",
        "doctor",
        "watch",
        "demo",
    ):
        assert f" {name} " in out


def test_help_comes_at_once() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "services", "--help"]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    assert time.monotonic() - began < 5
    heavy = {"aiokafka", "asyncpg", "aiohttp", "faust", "lxml", "pydantic", "psutil", "holidays"}
    read = {
        line.rsplit("|", 1)[1].strip()
        for line in done.stderr.splitlines()
        if line.startswith("import time:")
    }
    assert heavy & read == set()


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"],
        ["order", "show"],
        ["publish", "--count", "0"],
        ["publish", "--rate", "many"],
        ["order", "list", "--limit", "0"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_status_2(nowhere: Path, words: list[str]) -> None:
    assert ask(*words)[0] == 2


def test_a_state_that_is_none_names_all_states(nowhere: Path) -> None:
    status, _, err = ask("order", "list", "--state", "shipped")
    assert status == 2
    assert err.startswith("choose a state of awaits_order, placed")


def test_replay_must_be_told_which(nowhere: Path) -> None:
    status, _, err = ask("dlq", "replay")
    assert status == 2
    assert "--all" in err


def test_down_twice_is_down(nowhere: Path) -> None:
    status, _, err = ask("down")
    assert status == 0
    assert err.startswith("no stack runs in ")


def test_a_file_a_killed_stack_left_is_no_stack(nowhere: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    (nowhere / "stack.json").write_text(
        json.dumps({"pid": child.pid, "postgres": "postgresql:///x", "kafka": "x:1"})
    )
    assert ask("order", "list")[0] == 3


def test_status_for_machines_says_that_none_runs(nowhere: Path) -> None:
    status, out, _ = ask("status", "--json")
    assert status == 3
    assert json.loads(out)["running"] is False


@pytest.mark.parametrize("words", [["--json"], []], ids=["json", "table"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_went_away_ends_a_command_without_a_word(
    words: list[str], unbuffered: str
) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [
        sys.executable,
        "-m",
        "services",
        "tax",
        "assess",
        "docs/examples/order.json",
        *words,
    ]
    env = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(
        command, stdout=write, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=env, check=False
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


@pytest.mark.parametrize("detach", [[], ["--detach"]], ids=["foreground", "detached"])
@pytest.mark.parametrize("home", ["file", "file/below", "/proc/self/none"])
def test_a_folder_that_cannot_be_made_is_said_in_one_sentence(
    nowhere: Path, home: str, detach: list[str]
) -> None:
    (nowhere / "file").touch()
    status, out, err = ask("up", *detach, "--home", str(nowhere / home))
    assert (status, out) == (2, "")
    assert err.startswith("choose a folder of your own with CROSSBORDER_HOME or --home: ")
    assert err.count("\n") == 1


def test_keys_are_made_once_and_readable_by_nobody_else(nowhere: Path) -> None:
    assert ask("keys")[0] == 0
    folder = nowhere / "keys"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {path.stat().st_mode & 0o077 for path in folder.glob("*.key")} == {0}
    assert ask("keys")[0] == 0
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}


# --- publish


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "it is empty"),
        (b"{", "it is not JSON"),
        (b'{"order_no": "A"}', "has no order_no and platform.code"),
        (b'{"order_no": 5, "platform": {"code": "x"}}', "must be strings"),
        (b"[]", "its array is empty"),
        (b"[[]]", "has no order_no and platform.code"),
        (b"<a/>", "give a CEB311Message"),
        (b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", "mend"),
        (b"<a", "mend"),
    ],
)
def test_a_file_that_cannot_be_published_says_why(nowhere: Path, content: bytes, what: str) -> None:
    file = nowhere / "orders.jsonl"
    file.write_bytes(content)
    status, out, err = ask("publish", "--file", str(file))
    assert (status, out) == (2, "")
    assert what in err


def test_the_bad_line_is_named(nowhere: Path) -> None:
    file = nowhere / "orders.jsonl"
    file.write_text(json.dumps(SUBMISSION) + "\n\nno\n")
    assert ask("publish", "--file", str(file))[2].startswith("mend line 3 of ")


def test_a_file_that_is_not_there_is_wrong_input(nowhere: Path) -> None:
    assert ask("publish", "--file", str(nowhere / "none"))[0] == 2


def test_file_and_sample_exclude_one_another(nowhere: Path) -> None:
    assert ask("publish", "--file", "x", "--sample", "y")[0] == 2


def test_a_submission_goes_out_as_it_is_with_cloudevents_headers(tmp_path: Path) -> None:
    file = tmp_path / "orders.jsonl"
    line = json.dumps({**SUBMISSION, "unknown": "kept"})
    file.write_text(line + "\n")
    (record,) = read_file(file)
    heads = dict(record.headers)
    assert record.value == line.encode()
    assert record.key == b"CLI-1"
    assert heads["ce_type"] == b"order.submitted.v1"
    assert record.order_id is not None


def test_publishing_a_file_twice_gives_records_of_their_own(tmp_path: Path) -> None:
    file = tmp_path / "orders.jsonl"
    file.write_text(json.dumps(SUBMISSION))
    (one,), (two,) = read_file(file), read_file(file)
    assert one.order_id == two.order_id
    assert dict(one.headers)["ce_id"] != dict(two.headers)["ce_id"]


# --- parties


@pytest.mark.parametrize("words", [
    ["110591015a"], [" 1105910159"], ["１１０５９１０１５９"], ["1105910159\u200b"], ["1105910159110591015X"], [""],
    ["LOGISTICS\u200b1", "--carrier"], ["L" * 19, "--carrier"],
])  # fmt: skip
def test_a_code_that_no_record_has_is_bound_to_nothing(words: list[str], nowhere: Path) -> None:
    key = nowhere / "key.pem"
    status, _, said = ask("access", "party", "add", *words, "--key", str(key))
    assert status == 2, said
    assert said.startswith("give the"), said
    assert not key.exists()


# --- doctor


def test_doctor_names_who_holds_a_port(taken: int) -> None:
    assert not machine.is_free(taken)
    assert "process" in machine.holder_of(taken)


def test_two_programs_on_one_port_are_named_with_their_settings(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROSSBORDER_KAFKA_PORT", "8101")
    said = "set CROSSBORDER_ORDERS_PORT or CROSSBORDER_KAFKA_PORT to another port: both are 8101"
    (check,) = (check for check in machine.ports() if check.name == "ports")
    assert (check.ok, check.todo) == (False, said)
    with pytest.raises(
        Misconfigured, match="set CROSSBORDER_KAFKA_PORT or CROSSBORDER_ORDERS_PORT"
    ):
        stacks.Stack(nowhere)._require_ports()
    free = {name: free_port() for name in ports.PORTS}
    stacks.Stack(nowhere, ports={**free, "probe": free["kafka"]}, programs=())._require_ports()


@pytest.mark.parametrize(
    ("text", "major"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('java version "1.8.0_402"', 8),
        ('openjdk version "21" 2023', 21),
        ("", 0),
    ],
)
def test_java_versions_are_read(text: str, major: int) -> None:
    assert machine.java_major(text) == major


@pytest.mark.parametrize(("locks", "processes", "batch", "wanted"), [
    (282, 50, 500, None), (64, 4, 500, None), (64, 8, 500, 72), (64, 4, 5000, 232), (2532, 50, 5000, None), (282, 60, 500, 332),
])  # fmt: skip
def test_doctor_compares_the_lock_table_with_replicas_times_batch(
    locks: int, processes: int, batch: int, wanted: int | None
) -> None:
    found = database.locks_check(locks, 100, processes, batch)
    assert found.ok is (wanted is None)
    assert found.todo == (
        f"set max_locks_per_transaction of PostgreSQL to {wanted} or more and restart it"
        if wanted
        else ""
    )
    assert f"{processes} processes with batches of {batch}" in found.state


def test_doctor_tells_which_topics_have_other_partitions_than_they_were_made_with() -> None:
    assert stack.partitions_check({"orders.events": 12, "tax.events": 12}).ok
    check = stack.partitions_check({"orders.events": 24, "tax.events": 12, "orders.submissions": 6})
    assert not check.ok
    assert check.state == "orders.events has 24, orders.submissions has 6"
    assert "12 partitions" in check.todo


def test_doctor_without_a_stack_answers_no_and_says_what_to_do(nowhere: Path) -> None:
    status, out, _ = ask("doctor", "--json")
    found = json.loads(out)
    assert status == 1
    assert found["ok"] is False
    assert all(check["ok"] or check["todo"] for check in found["checks"])
