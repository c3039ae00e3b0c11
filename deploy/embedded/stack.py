"""The embedded stack: broker, database, services and sandbox.

`stack.json` describes the running one.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Final

from deploy import secrets
from deploy.embedded import lock, logins, process
from deploy.embedded.home import home_dir
from deploy.embedded.kafka import EmbeddedKafka, Secured, wait_led
from deploy.embedded.ports import port_setting, ports_from_environment, require_distinct
from deploy.embedded.postgres import BATCH_RECORDS, EmbeddedPostgres
from deploy.embedded.programs import MIGRATE, MODULES, OPTIONAL
from deploy.embedded.server import Watched
from deploy.embedded.supervisor import Program, Status, Supervisor
from shared.access import PRINCIPALS
from shared.broker_access import Access
from shared.errors import Misconfigured
from shared.settings import Settings
from shared.tasks import together

DATABASE: Final = "crossborder"

Prepare = Callable[[str], Awaitable[object]]
"""Migrates the database of a DSN, or creates the topics of bootstrap servers."""
Report = Callable[[str], None]


@dataclass
class Stack:
    """Everything that `crossborder up` starts. `prepare_*` default to this release's own."""

    home: Path = field(default_factory=home_dir)
    ports: Mapping[str, int] = field(default_factory=ports_from_environment)
    programs: Sequence[str] = tuple(name for name in MODULES if name not in OPTIONAL)
    env: Mapping[str, str] = field(default_factory=dict)
    topic_prefix: str = ""
    prepare_database: Prepare | None = None
    prepare_topics: Prepare | None = None
    report: Report = lambda _line: None
    secured: bool = False
    """Broker with TLS, users and rights, database with passwords, as in containers.

    Otherwise both are open on the loopback address.
    """

    def __post_init__(self) -> None:
        self.home = self.home.resolve()
        logs = self.logs
        self._require_kind()
        self.guard = Secured(self.home / "secrets") if self.secured else None
        self.kafka = EmbeddedKafka(
            self.home / "kafka",
            self.ports["kafka"],
            self.ports["kafka_controller"],
            log=logs / "kafka.log",
            secured=self.guard,
        )
        self.postgres = EmbeddedPostgres(
            self.home / "postgres",
            log=logs / "postgres.log",
            passwords=self.secured,
            batch_records=self._batch_records(),
        )
        self.supervisor = Supervisor(logs, changed=self._child_changed)
        self.lost = asyncio.Event()
        """Set when broker or database are given up: the stack must be stopped then."""
        self._servers = [
            Watched(n, s, changed=self._server_changed)
            for n, s in (("kafka", self.kafka), ("postgres", self.postgres))
        ]
        self._watchers: list[asyncio.Task[None]] = []
        self._lock: IO[str] | None = None

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @property
    def file(self) -> Path:
        return self.home / lock.WRITTEN

    @property
    def dsn(self) -> str:
        return self.postgres.dsn(DATABASE)

    @property
    def bank_url(self) -> str:
        return f"http://127.0.0.1:{self.ports['bank']}"

    async def start(self) -> None:
        """Start everything in order; after a failure, stop what was started."""
        self._lock = lock.take(self.home)
        try:
            self._require_ports()
            if self.secured:
                secrets.make(self.home / "secrets")
                secrets.make_certificates(self.home / "secrets")
            began = time.monotonic()
            await together(self.kafka.start(), self.postgres.start())
            self.report(f"Kafka and PostgreSQL answer after {time.monotonic() - began:.1f} s")
            self._watchers = [asyncio.create_task(server.watch()) for server in self._servers]
            for watcher in self._watchers:
                watcher.add_done_callback(self._watch_ended)
            await self.postgres.ensure_database(DATABASE)
            await together(self._migrate(), self._create_topics())
            await self.give_access()
            for name in self.programs:
                self.supervisor.start(
                    Program(name, [sys.executable, "-m", MODULES[name]], self.child_env(name))
                )
            self._write_description()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> list[Status]:
        """Stop the services first, then broker and database, so that no service works
        without them.
        """
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        ended = await self.supervisor.stop()
        await asyncio.gather(self.kafka.stop(), self.postgres.stop())
        if self._lock is not None:
            self.file.unlink(missing_ok=True)
            lock.free(self._lock)
            self._lock = None
        return ended

    def status(self) -> list[Status]:
        return [
            *(server.status() for server in self._servers),
            *self.supervisor.status(),
        ]

    def child_env(self, name: str) -> dict[str, str]:
        return {
            "CROSSBORDER_KAFKA": self.kafka.bootstrap,
            "CROSSBORDER_POSTGRES": self.dsn,
            "CROSSBORDER_HOME": str(self.home),
            "CROSSBORDER_TOPIC_PREFIX": self.topic_prefix,
            "CROSSBORDER_METRICS_PORT": str(self.ports[name]),
            "CROSSBORDER_BANK_URL": self.bank_url,
            "CROSSBORDER_BANK_PORT": str(self.ports["bank"]),
            **(logins.of_program(self.guard, self.home, name) if self.guard else {}),
            **self.env,
        }

    def _batch_records(self) -> int:
        """Return the children's setting.

        The children themselves refuse a text that is no number.
        """
        given = {**os.environ, **self.env}.get("CROSSBORDER_BATCH_RECORDS", "")
        return int(given) if given.isdigit() else BATCH_RECORDS

    async def give_access(self) -> None:
        """Set the broker's rights and passwords by topics and secrets.

        Do nothing for an open broker.
        """
        if self.guard is None:
            return
        async with Access.opened(self.kafka.bootstrap, self.kafka.security) as broker:
            await broker.apply(
                self.topic_prefix, {who: self.guard.password(who) for who in PRINCIPALS}
            )

    def _require_kind(self) -> None:
        """Refuse to open secured data or to secure open data: users and passwords are
        in the data.
        """
        there = (self.home / "kafka" / "data").is_dir()
        if there and self.secured != (self.home / "secrets").is_dir():
            raise Misconfigured(
                "choose another folder, or empty it with `make clean`: "
                f"the data in {self.home} is of "
                f"{'an open stack' if self.secured else 'a stack with --secured'}"
            )

    def _require_ports(self) -> None:
        banks = ["bank"] if "sandbox" in self.programs else []
        require_distinct(
            {
                name: self.ports[name]
                for name in ("kafka", "kafka_controller", *self.programs, *banks)
            }
        )
        process.require_free(self.ports["kafka"], "Kafka", port_setting("kafka"))
        process.require_free(
            self.ports["kafka_controller"], "Kafka's controller", port_setting("kafka_controller")
        )
        for name in self.programs:
            process.require_free(self.ports[name], f"the metrics of {name}", port_setting(name))
        if banks:
            process.require_free(self.ports["bank"], "the bank's sandbox", port_setting("bank"))

    async def _migrate(self) -> None:
        if self.prepare_database is not None:
            await self.prepare_database(self.dsn)
            return
        probe = {**os.environ, **self.env}.get(
            "CROSSBORDER_PROBE_PLATFORM"
        ) or Settings.model_fields["probe_platform"].default
        command = [
            *MIGRATE,
            self.dsn,
            probe,
            *([str(self.home / "secrets")] if self.secured else []),
        ]
        log = self.logs / "migrate.log"
        child = process.start(command, log)
        if await process.wait_exit(child, 60) != 0:
            child.kill()
            child.wait()
            raise Misconfigured(
                f"the database was not migrated; the end of {log}:\n{process.tail(log)}"
            )

    async def _create_topics(self) -> None:
        if self.prepare_topics is not None:
            await self.prepare_topics(self.kafka.bootstrap)
            return
        from shared.topics import create_topics

        made = await create_topics(
            self.kafka.bootstrap, self.topic_prefix, security=self.kafka.security
        )
        await wait_led(self.kafka.bootstrap, made, security=self.kafka.security)

    def _child_changed(self, status: Status) -> None:
        if status.state == "failed":
            self.report(f"{status.name} does not start: {process.tail(status.log, 1)}")
        elif status.state == "waiting":
            self.report(f"{status.name} ended with status {status.exit_code} and is restarted")
        if self.file.exists():
            self._write_description()

    def _server_changed(self, status: Status, detail: str) -> None:
        if status.state == "waiting":
            self.report(f"{status.name} is restarted on its data: {detail}")
        elif status.state == "failed":
            self.report(
                f"look at {status.log}: {status.name} does not stay up, so the stack is stopped "
                f"({detail})"
            )
        if self.file.exists():
            self._write_description()

    def _watch_ended(self, watcher: asyncio.Task[None]) -> None:
        if not watcher.cancelled():
            self.lost.set()
            watcher.result()

    def _write_description(self) -> None:
        text = {
            "kafka": self.kafka.bootstrap,
            "postgres": self.dsn,
            "home": str(self.home),
            "pid": os.getpid(),
            "ports": dict(self.ports),
            "bank_url": self.bank_url,
            "topic_prefix": self.topic_prefix,
            **(logins.of_operators(self.guard, self.home) if self.guard else {}),
            "programs": {s.name: {**asdict(s), "log": str(s.log)} for s in self.status()},
        }
        draft = self.file.with_suffix(".part")
        draft.write_text(json.dumps(text, indent=2))
        draft.replace(self.file)
