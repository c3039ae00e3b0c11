"""The containers' stack as an operator has it, in a copy of this tree: `docker compose` and nothing
else.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

from tests.compose.machine import ROOT, Machine, run

T = TypeVar("T")

UP_S: Final = 300
PROMETHEUS: Final = "http://127.0.0.1:9090"
ALERTMANAGER: Final = "http://127.0.0.1:9093"
NOT_EVERYWHERE: Final = frozenset({"grafana", "kafka-ui"})
"""They have no package to make a stand-in of: they run where their official images are."""
SERVICES: Final = ("orders", "payments", "tax", "customs")
PROGRAMS: Final = (*SERVICES, "streams", "sandbox")


def copied(folder: Path) -> Path:
    """What git knows of this tree, as it is now, in a folder of its own: its secrets and its image
    are not the user's.
    """
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", cwd=ROOT)
    for name in filter(None, listed.split("\0")):
        source, target = ROOT / name, folder / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    return folder


def until(look: Callable[[], T], timeout_s: float, what: str, every_s: float = 1.0) -> T:
    """What `look` returns once it is true.

    An AssertionError naming `what` and the last look after `timeout_s` seconds.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, (
            f"not within {timeout_s:g} s: {what}; last seen {found!r}"
        )
        time.sleep(every_s)


class Stack:
    """One project of compose, by its own name, so that a stack the user runs is not touched."""

    def __init__(
        self, machine: Machine, folder: Path, project: str, profile: str, files: Sequence[str] = ()
    ) -> None:
        self.machine, self.folder, self.project = machine, folder, project
        self.env = {**machine.env, "COMPOSE_PROFILES": profile}
        self._files = [part for name in files for part in ("--file", name)]

    def compose(self, *args: str, timeout_s: float = 600.0) -> str:
        """What `docker compose …` printed on stdout."""
        return run(*self._command(*args), env=self.env, cwd=self.folder, timeout_s=timeout_s)

    def piped(self, *args: str, given: Path | None = None, to: Path | None = None) -> None:
        """Runs `docker compose …` with the bytes of a file for its input, or its
        output into one.
        """
        with (
            (given or Path("/dev/null")).open("rb") as source,
            (to or Path("/dev/null")).open("wb") as target,
        ):
            done = subprocess.run(
                self._command(*args),
                env=self.env,
                cwd=self.folder,
                stdin=source,
                stdout=target,
                stderr=subprocess.PIPE,
                check=False,
            )
        assert done.returncode == 0, done.stderr.decode()[-2000:]

    def _command(self, *args: str) -> list[str]:
        return [
            "docker",
            "compose",
            "--progress",
            "quiet",
            "--project-name",
            self.project,
            *self._files,
            *args,
        ]

    def config(self, *profiles: str) -> dict[str, Any]:
        """The file as compose resolves it."""
        chosen = [part for profile in profiles for part in ("--profile", profile)]
        found = json.loads(self.compose(*chosen, "config", "--format", "json"))
        assert isinstance(found, dict)
        return found

    @property
    def services(self) -> list[str]:
        """Every service of the profile whose image is to be had."""
        images = {name: service["image"] for name, service in self.config()["services"].items()}
        missing = {name for name in images.keys() & NOT_EVERYWHERE if not self._has(images[name])}
        return sorted(images.keys() - missing)

    def _has(self, image: str) -> bool:
        done = subprocess.run(
            ["docker", "image", "inspect", image], capture_output=True, check=False, env=self.env
        )
        return done.returncode == 0

    def build(self) -> None:
        """The product's image, by the build section of the file."""
        self.compose("build", "--quiet", timeout_s=1800)

    def up(self, *services: str) -> None:
        """Bring up and wait until all is well; shows the logs where it is not."""
        try:
            self.compose(
                "up",
                "--detach",
                "--wait",
                "--wait-timeout",
                str(UP_S),
                *(services or self.services),
                timeout_s=UP_S + 120,
            )
        except RuntimeError as error:
            state = self.compose("ps", "--all", "--format", "{{.Name}} {{.Status}}")
            raise AssertionError(
                f"{error}\n{state}\n{self.compose('logs', '--tail', '15')}"
            ) from None

    def down(self, *, volumes: bool = False) -> None:
        self.compose(
            "--profile",
            "*",
            "down",
            "--remove-orphans",
            *(["--volumes"] if volumes else []),
            timeout_s=180,
        )

    @contextmanager
    def fresh(self) -> Iterator[float]:
        """Up on empty volumes, and down again whatever happens.

        Yields the seconds until all was well.
        """
        self.down(volumes=True)
        began = time.monotonic()
        try:
            self.up()
            yield time.monotonic() - began
        finally:
            self.down(volumes=True)

    # --- looking inside

    def inspect(self, service: str) -> dict[str, Any]:
        """What Docker knows of the one container of a service."""
        name = self.compose("ps", "--all", "--quiet", service).strip()
        found = json.loads(self.machine.docker("inspect", name))[0]
        assert isinstance(found, dict)
        return found

    def inside(self, service: str, *command: str) -> str:
        return self.compose("exec", "--no-TTY", service, *command)

    def health(self, service: str) -> str:
        return str(self.inspect(service)["State"].get("Health", {}).get("Status", "none"))

    def rows(self, query: str) -> list[list[str]]:
        """What the database answers, as text."""
        said = self.inside(
            "postgres",
            "psql",
            "-U",
            "postgres",
            "-d",
            "crossborder",
            "-At",
            "-F",
            "\t",
            "-c",
            query,
        )
        return [line.split("\t") for line in said.splitlines()]

    def memory(self) -> dict[str, int]:
        """MiB that each running container uses now, by service, as the kernel counts against its
        limit.
        """
        found = {}
        for line in self.compose("ps", "--format", "{{.Service}}\t{{.ID}}").splitlines():
            service, container = line.split("\t")
            said = (
                self.machine.docker("stats", "--no-stream", "--format", "{{.MemUsage}}", container)
                .split("/")[0]
                .strip()
            )
            number, unit = said[:-3], said[-3:]
            found[service] = round(float(number) * {"KiB": 1 / 1024, "MiB": 1, "GiB": 1024}[unit])
        return found

    # --- orders

    def cli(self, *args: str, timeout_s: float = 600.0) -> str:
        """What `crossborder …` printed, run as the operator's guide says."""
        return self.compose("run", "--rm", "--no-TTY", "cli", *args, timeout_s=timeout_s)

    def _driving(self, orders: int, spread_s: float, seed: int) -> list[str]:
        mounted = [
            "--volume",
            f"{self.folder / 'tests'}:/checkout/tests:ro",
            "--env",
            "PYTHONPATH=/checkout",
        ]
        told = ["--orders", str(orders), "--spread", str(spread_s), "--seed", str(seed)]
        return [
            "run",
            "--rm",
            "--no-TTY",
            *mounted,
            "--entrypoint",
            "python",
            "cli",
            "-m",
            "tests.compose.drive",
            *told,
        ]

    def publish_every_kind(self, orders: int, spread_s: float, seed: int) -> None:
        """Orders of every kind over `spread_s` seconds, each followed to the end that is right for
        it.
        """
        found = json.loads(self.compose(*self._driving(orders, spread_s, seed), timeout_s=900))
        assert found == {"orders": found["orders"], "wrong": []}, found

    @contextmanager
    def under_load(self, *command: str, timeout_s: float = 900.0) -> Iterator[dict[str, Any]]:
        """Runs `docker compose …` beside the body.

        Afterwards the dictionary holds the JSON it printed.
        """
        found: dict[str, Any] = {}
        child = subprocess.Popen(
            self._command(*command),
            env=self.env,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield found
            out, err = child.communicate(timeout=timeout_s)
        finally:
            if child.poll() is None:
                child.kill()
                child.communicate()
        try:
            found.update(json.loads(out))
        except ValueError:
            raise AssertionError(f"exit {child.returncode}: {out[-2000:]} {err[-4000:]}") from None

    def driving(self, orders: int, spread_s: float, seed: int) -> list[str]:
        return self._driving(orders, spread_s, seed)

    def verify(self) -> None:
        """Every invariant over tables, topics, the bank's statement and the
        authority's register.
        """
        self.cli("verify", "--wait", "60")

    # --- those who watch

    def samples(self, query: str) -> list[dict[str, Any]]:
        """What Prometheus answers now."""
        found = fetched(f"{PROMETHEUS}/api/v1/query?" + urllib.parse.urlencode({"query": query}))
        return [
            {**sample["metric"], "": float(sample["value"][1])}
            for sample in found["data"]["result"]
        ]

    def number(self, query: str) -> float:
        """The one number a query answers; 0 if nothing."""
        found = self.samples(query)
        return float(found[0][""]) if found else 0.0

    def alerts(self, **labels: str) -> list[Mapping[str, Any]]:
        """What Alertmanager holds as firing with these labels."""
        found = fetched(f"{ALERTMANAGER}/api/v2/alerts?active=true&inhibited=true")
        return [alert for alert in found if labels.items() <= alert["labels"].items()]


def fetched(url: str) -> Any:
    """The JSON at an address of this machine."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=10) as answer:
        return json.loads(answer.read())
