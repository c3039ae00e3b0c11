"""The environment is made with a Python that will do, also with one that brings no pip."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from deploy import environment
from deploy.embedded import process


def test_the_choice_is_the_callers_or_another_of_its_version() -> None:
    chosen = environment.choose()
    said = subprocess.run(
        [chosen, "-c", "import sys; print(*sys.version_info[:2])"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert tuple(map(int, said.stdout.split())) == sys.version_info[:2]


def test_what_is_no_interpreter_or_too_old_is_not_a_candidate(tmp_path: Path) -> None:
    fake = tmp_path / "python3.11"
    fake.write_text("#!/bin/sh\necho 3 6 cpython 0.0001 /old/python\n")
    fake.chmod(0o755)
    assert environment.measured(str(fake)) is None
    assert environment.measured(str(tmp_path / "missing")) is None
    assert environment.measured(sys.executable) is not None


def test_a_script_that_starts_the_callers_own_python_is_no_other_python(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shim = tmp_path / f"python3.{sys.version_info[1]}"
    shim.write_text(f'#!/bin/sh\nexec "{os.path.realpath(sys.executable)}" "$@"\n')
    shim.chmod(0o755)
    found = environment.measured(str(shim))
    assert found is not None
    assert found[0] == os.path.realpath(sys.executable)
    monkeypatch.setattr(environment, "candidates", lambda: [str(shim)])
    monkeypatch.setattr(environment, "CLEARLY", 0.0)
    assert environment.choose() == sys.executable


def test_a_clearly_faster_interpreter_of_the_same_version_is_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = str(tmp_path / f"python3.{sys.version_info[1]}")
    monkeypatch.setattr(environment, "candidates", lambda: [sys.executable, other])
    for took, chosen in ((0.5, other), (0.95, sys.executable)):
        monkeypatch.setattr(
            environment, "measured", lambda path, took=took: (path, took if path == other else 1.0)
        )
        assert environment.choose() == chosen
    assert "2.0 times as fast" in capsys.readouterr().out


@pytest.mark.slow
def test_an_interpreter_without_ensurepip_gets_pip_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = subprocess.run

    def lacks(command: list[str], **kwargs: object) -> object:
        if command[-1] == "import ensurepip":
            return subprocess.CompletedProcess(command, 1)
        return run(command, **kwargs)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "run", lacks)
    base = getattr(sys, "_base_executable", sys.executable)
    try:
        environment.make(str(tmp_path / "made"), base)
    except (StopIteration, AttributeError):
        pytest.skip(
            "this Python has no ensurepip, whose wheel of pip is what such an environment is given"
        )
    assert (
        run(
            [str(tmp_path / "made" / "bin" / "python"), "-m", "pip", "--version"], check=False
        ).returncode
        == 0
    )


def test_a_free_port_is_one_that_no_connection_is_given_by_chance() -> None:
    """It must still be free when its server is started anew."""
    low, _ = map(
        int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()
    )
    given = [process.free_port() for _ in range(50)]
    assert len(set(given)) == 50
    assert all(port < low for port in given)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", given[0]))
