"""Whether a stack runs is told by its lock alone: not by a file that a killed one left, nor by a process that has its id now."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.embedded import home as embedded_home
from deploy.embedded import lock, ports
from deploy.embedded import stack as stacks
from deploy.embedded.process import free_port
from services.cli.app import app
from services.cli.connect import UsageError
from services.cli.stack import app as cli
from services.cli.stack import readiness, startup
from shared.errors import Misconfigured

ROOT = Path(__file__).resolve().parents[3]
NOBODY = 65534
HOLD = (
    "import pathlib, sys, time\nfrom deploy.embedded import lock\n"
    "held = lock.take(pathlib.Path(sys.argv[1]))\nprint('held', flush=True)\ntime.sleep(600)"
)
"""What `up` does first; it is killed by SIGTERM as any program is."""
DOWN_AS_NOBODY = """
import os, sys
from services.cli.app import app
app(["down", "--home", sys.argv[1]], standalone_mode=False)
os.chdir("/")
os.setgroups([])
os.setgid(int(sys.argv[3]))
os.setuid(int(sys.argv[3]))
app(["down", "--home", sys.argv[2]], prog_name="crossborder")
"""
"""Another user may not be able to read this environment: everything that `down` needs is loaded by a `down` of nothing before."""


def ask(*words: str) -> tuple[int, str, str]:
    found = CliRunner().invoke(app, list(words))
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    return found.exit_code, found.stdout, found.stderr


def write_down(home: Path, pid: int) -> None:
    text = {
        "pid": pid,
        "home": str(home),
        "kafka": "x:1",
        "postgres": "postgresql:///x",
        "programs": {},
        "ports": {},
    }
    (home / "stack.json").write_text(json.dumps(text))


def run_holder(home: Path) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(home)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    return child


def end(child: subprocess.Popen[str]) -> None:
    child.kill()
    child.wait()
    assert child.stdout is not None
    child.stdout.close()


@pytest.fixture
def holder(home: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has the lock of the folder, as a stack on its way up."""
    child = run_holder(home)
    yield child
    end(child)


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[str]]:
    """A process that has nothing to do with a stack."""
    child = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"], stdout=subprocess.PIPE, text=True
    )
    yield child
    end(child)


def test_a_process_that_has_the_id_of_a_killed_stack_is_no_stack_and_is_let_live(
    home: Path, stranger: subprocess.Popen[str]
) -> None:
    write_down(home, stranger.pid)
    (home / "stack.lock").write_text(f"{stranger.pid}\n")
    assert embedded_home.find(home) == {}
    status, _, err = ask("status")
    assert (status, err) == (
        3,
        f"start the stack with `crossborder up`: none is running in {home}\n",
    )
    assert ask("down") == (0, "", f"no stack runs in {home}\n")
    assert stranger.poll() is None


def test_a_stack_that_is_just_starting_is_told_of_and_stopped(
    home: Path, holder: subprocess.Popen[str]
) -> None:
    assert lock.holder(home) == holder.pid
    waits = (
        f"wait until the stack in {home} is up: process {holder.pid} is starting or stopping it\n"
    )
    assert ask("status") == (3, "", waits)
    assert ask("up", "--detach") == (3, "", waits)
    assert ask("down") == (0, "", "stopped\n")
    assert holder.wait() == -signal.SIGTERM
    assert ask("down") == (0, "", f"no stack runs in {home}\n")


def test_what_a_killed_stack_wrote_down_is_not_of_the_next_one(
    home: Path, stranger: subprocess.Popen[str]
) -> None:
    write_down(home, stranger.pid)
    held = lock.take(home)
    assert not (home / "stack.json").exists()
    write_down(home, stranger.pid)
    assert lock.written(home) == {}
    write_down(home, os.getpid())
    assert lock.written(home)["pid"] == os.getpid()
    lock.free(held)
    assert lock.written(home) == {}


def test_a_stack_of_an_earlier_release_is_known_by_what_it_wrote_down(
    home: Path, holder: subprocess.Popen[str]
) -> None:
    (home / "stack.lock").write_text("")
    assert lock.holder(home) is None
    status, _, err = ask("down")
    assert (status, holder.poll()) == (3, None)
    assert "process unknown" in err
    write_down(home, holder.pid)
    assert ask("down") == (0, "", "stopped\n")


def test_a_stack_that_ended_and_whose_parent_took_no_note_is_down(
    home: Path, holder: subprocess.Popen[str]
) -> None:
    write_down(home, holder.pid)
    os.kill(holder.pid, signal.SIGKILL)
    os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)
    assert not readiness.is_alive(holder.pid)
    assert ask("down") == (0, "", f"no stack runs in {home}\n")


def test_two_stacks_of_one_folder_exclude_one_another_by_name(
    home: Path, holder: subprocess.Popen[str]
) -> None:
    with pytest.raises(
        Misconfigured, match=f"a stack already runs in .*process {holder.pid}.*crossborder down"
    ):
        lock.take(home)
    assert lock.holder(home) == holder.pid


def test_who_looks_keeps_nobody_from_starting(home: Path) -> None:
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            lock.runs(home)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for _ in range(300):
            lock.free(lock.take(home))
    finally:
        done.set()
        looking.join()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_a_stack_of_another_user_is_said_to_be_that(home: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        theirs = Path(folder)
        child = run_holder(theirs)
        try:
            theirs.chmod(0o755)
            said = f"do this as the user whose stack it is: process {child.pid} is another user's\n"
            assert down_as_nobody(theirs, empty=home) == (2, said)
            theirs.chmod(0o700)
            code, said = down_as_nobody(theirs, empty=home)
            assert code == 2
            assert said.startswith("choose a folder of your own with CROSSBORDER_HOME or --home: ")
            assert child.poll() is None
        finally:
            end(child)


def down_as_nobody(home: Path, *, empty: Path) -> tuple[int, str]:
    command = [sys.executable, "-c", DOWN_AS_NOBODY, str(empty), str(home), str(NOBODY)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    of_nothing, _, said = done.stderr.partition("\n")
    assert of_nothing == f"no stack runs in {empty}"
    return done.returncode, said


async def test_a_stack_that_lost_its_broker_stops_and_was_not_well(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stack = stacks.Stack(home, ports={name: free_port() for name in ports.PORTS}, programs=())
    stack.lost.set()
    assert not await cli._keep(stack, asyncio.Event())
    assert capsys.readouterr().err.endswith("stopping …\n")


async def test_a_stack_told_to_stop_before_it_is_ready_was_well(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stack = stacks.Stack(
        home, ports={name: free_port() for name in ports.PORTS}, programs=("orders",)
    )
    stop = asyncio.Event()
    keeping = asyncio.create_task(cli._keep(stack, stop))
    await asyncio.sleep(0)
    assert not keeping.done()
    stop.set()
    assert await keeping
    assert capsys.readouterr().err == "waiting for orders …\nstopping …\n"


class Child:
    """A started `up` as whoever waits for it sees it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.ended: int | None = None

    def poll(self) -> int | None:
        return self.ended


def test_an_up_that_lost_the_race_for_the_folder_leaves_the_log_of_the_other_alone(
    home: Path, holder: subprocess.Popen[str]
) -> None:
    log = home / "logs" / "up.log"
    drafts = [home / "logs" / name for name in ("first.part", "second.part")]
    log.parent.mkdir()
    for draft in drafts:
        draft.write_text("starting\nup; Ctrl-C\n")
    startup._await_up(home, Child(holder.pid), drafts[0])
    assert (log.read_text(), drafts[0].exists()) == ("starting\nup; Ctrl-C\n", False)
    drafts[1].write_text("a stack already runs\n")
    second = Child(holder.pid + 1)
    second.ended = 2
    with pytest.raises(UsageError, match="a stack already runs"):
        startup._await_up(home, second, drafts[1])
    assert log.read_text() == "starting\nup; Ctrl-C\n"


# --- make clean


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """As much of a checkout as `make clean` needs, with a stack's data in it."""
    root = tmp_path / "checkout"
    for name in ("deploy/__init__.py", "deploy/embedded/__init__.py", "deploy/embedded/lock.py", "deploy/embedded/clean.py",
                 "shared/__init__.py", "shared/errors.py", "Makefile"):  # fmt: skip
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    (root / "build").mkdir()
    for home in (root / ".crossborder", root / ".crossborder" / "demo"):
        leave_data(home)
    (root / ".crossborder" / "kafka-libs").mkdir()
    return root


def leave_data(home: Path) -> None:
    (home / "postgres" / "data").mkdir(parents=True)
    for name in ("stack.lock", "stack.json"):
        (home / name).touch()


def make_clean(root: Path, home: Path | None = None) -> tuple[int, str]:
    env = {**os.environ, "CROSSBORDER_HOME": str(home or "")}
    command = ["make", "-s", "clean", f"PYTHON={sys.executable}"]
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_clean_deletes_what_stacks_left_and_keeps_the_jars(checkout: Path) -> None:
    assert make_clean(checkout) == (0, "")
    assert names(checkout / ".crossborder") == ["kafka-libs"]
    assert names(checkout) == [".crossborder", "Makefile", "deploy", "shared"]


def test_clean_of_a_folder_named_by_hand_deletes_what_a_stack_left_there_and_nothing_else(
    checkout: Path, tmp_path: Path
) -> None:
    home = tmp_path / "mine"
    leave_data(home)
    (home / "letters").mkdir()
    assert make_clean(checkout, home) == (0, "")
    assert names(home) == ["letters"]
    assert names(checkout / ".crossborder") == [
        "demo",
        "kafka-libs",
        "postgres",
        "stack.json",
        "stack.lock",
    ]


def test_clean_leaves_a_folder_alone_where_no_stack_ever_was(
    checkout: Path, tmp_path: Path
) -> None:
    home = tmp_path / "strangers"
    for name in ("logs", "keys"):
        (home / name).mkdir(parents=True)
    assert make_clean(checkout, home) == (0, "")
    assert names(home) == ["keys", "logs"]


@pytest.mark.parametrize("inside", [".crossborder", ".crossborder/demo", "../mine"])
def test_clean_deletes_nothing_while_a_stack_runs(
    checkout: Path, tmp_path: Path, inside: str
) -> None:
    home = (checkout / inside).resolve()
    if inside == "../mine":
        leave_data(home)
    child = run_holder(home)
    try:
        status, err = make_clean(checkout, home if inside == "../mine" else None)
        assert status == 2, "what make makes of exit 1"
        assert err.startswith(f"stop the stack in {home if inside == '../mine' else inside} first")
        assert (home / "postgres" / "data").is_dir()
        assert (checkout / "build").is_dir()
    finally:
        end(child)
