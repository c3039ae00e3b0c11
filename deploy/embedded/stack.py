"""The whole embedded stack, from broker to sandboxes, found again by `stack.json`."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from deploy import secrets
from deploy.embedded import lock, process
from deploy.embedded.kafka import EmbeddedKafka, Secured, wait_led
from deploy.embedded.postgres import BATCH_RECORDS, EmbeddedPostgres
from deploy.embedded.server import Watched
from deploy.embedded.supervisor import Program, Status, Supervisor
from shared.access import PRINCIPALS, Access
from shared.errors import Misconfigured
from shared.settings import Settings
from shared.tasks import together
from shared.topics import OPERATORS

DATABASE: Final = "crossborder"
MIGRATE: Final = (
    sys.executable,
    "-c",
    """
import asyncio, sys
from services import schema
from services.cli.access import own_parties

dsn, probe, *folder = sys.argv[1:]
asyncio.run(schema.migrate(dsn, schema.passwords_in(*folder)))
asyncio.run(own_parties.register(dsn, schema.party_keys_in(*folder), probe))
""",
)
"""The migration, run by a child: what deploys may not import what it deploys."""
PORTS: Final = {
    "orders": 8101, "payments": 8102, "tax": 8103, "customs": 8104, "streams": 8105, "sandbox": 8106, "probe": 8107,
    "bank": 8110, "kafka": 9092, "kafka_controller": 9093,
}  # fmt: skip
MODULES: Final = {
    "sandbox": "sandbox",
    "orders": "services.orders.app",
    "payments": "services.payments.app",
    "tax": "services.tax.app",
    "customs": "services.customs.app",
    "streams": "services.orders.streams",
    "probe": "deploy.probe",
}
OPTIONAL: Final = ("probe",)
"""Left out unless they are asked for: in an embedded stack nobody is on call, and a count of orders would surprise."""

Prepare = Callable[[str], Awaitable[object]]
"""Given a DSN migrates a database, given the bootstrap servers creates the topics."""
Told = Callable[[str], None]


def home_dir() -> Path:
    """The folder of the embedded stack: CROSSBORDER_HOME, or `.crossborder` here."""
    return Path(os.environ.get("CROSSBORDER_HOME") or ".crossborder").resolve()


def ports_from_environment() -> dict[str, int]:
    """The ports of the stack; CROSSBORDER_<NAME>_PORT moves one, 0 takes any free one."""
    found = {}
    for name, usual in PORTS.items():
        setting = port_setting(name)
        given = os.environ.get(setting, str(usual))
        if not given.isdigit() or int(given) > 65535:
            raise Misconfigured(f"set {setting} to a port between 0 and 65535: found {given!r}")
        found[name] = int(given) or process.free_port()
    return found


def require_distinct(ports: Mapping[str, int]) -> None:
    """Raise Misconfigured if two are to listen on one port: it would be free for both when it is looked at."""
    first: dict[int, str] = {}
    for name, port in ports.items():
        other = first.setdefault(port, name)
        if other != name:
            raise Misconfigured(
                f"set {port_setting(other)} or {port_setting(name)} to another port: both are {port}"
            )


def port_setting(name: str) -> str:
    return f"CROSSBORDER_{name.upper()}_PORT"


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
    told: Told = lambda _line: None
    secured: bool = False
    """Broker with TLS, users and rights, database with passwords, as in containers; else open on the loopback address."""

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
        """Set when broker or database are given up: then this stack is of no use and must be stopped."""
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
        """Bring everything up, in order; after any failure what was started is stopped."""
        self._lock = lock.take(self.home)
        try:
            self._require_ports()
            if self.secured:
                secrets.make(self.home / "secrets")
                secrets.make_certificates(self.home / "secrets")
            began = time.monotonic()
            await together(self.kafka.start(), self.postgres.start())
            self.told(f"Kafka and PostgreSQL answer after {time.monotonic() - began:.1f} s")
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
            self._write_down()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> list[Status]:
        """Services first, then the broker and the database, so that nobody works against a closed door."""
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
        """Broker, database and every child."""
        return [
            *(server.status() for server in self._servers),
            *self.supervisor.status(),
        ]

    def child_env(self, name: str) -> dict[str, str]:
        """The settings a child gets."""
        return {
            "CROSSBORDER_KAFKA": self.kafka.bootstrap,
            "CROSSBORDER_POSTGRES": self.dsn,
            "CROSSBORDER_HOME": str(self.home),
            "CROSSBORDER_TOPIC_PREFIX": self.topic_prefix,
            "CROSSBORDER_METRICS_PORT": str(self.ports[name]),
            "CROSSBORDER_BANK_URL": self.bank_url,
            "CROSSBORDER_BANK_PORT": str(self.ports["bank"]),
            **(self._login(name) if self.guard else {}),
            **self.env,
        }

    def _batch_records(self) -> int:
        """As the children will have it; one that is no number they refuse themselves, by name."""
        given = {**os.environ, **self.env}.get("CROSSBORDER_BATCH_RECORDS", "")
        return int(given) if given.isdigit() else BATCH_RECORDS

    def _login(self, name: str) -> dict[str, str]:
        """How a child shows itself to the broker and the database: files with its own passwords, and nobody else's."""
        assert self.guard is not None
        user = name if name in PRINCIPALS else OPERATORS
        found = {
            "CROSSBORDER_KAFKA_SECURITY_PROTOCOL": self.guard.protocol,
            "CROSSBORDER_KAFKA_USER": user,
            "CROSSBORDER_KAFKA_PASSWORD_FILE": str(self.guard.password_file(user)),
            "CROSSBORDER_KAFKA_CA": str(self.guard.ca),
        }
        own = {
            "CROSSBORDER_POSTGRES_PASSWORD_FILE": f"postgres_{name}",
            "CROSSBORDER_PARTY_KEY_FILE": f"party_{name}",
        }
        files = {setting: self.home / "secrets" / file for setting, file in own.items()}
        return found | {setting: str(file) for setting, file in files.items() if file.exists()}

    async def give_access(self) -> None:
        """Make rights and passwords on the broker what the table of topics and the secrets say; nothing for an open one."""
        if self.guard is None:
            return
        async with Access.opened(self.kafka.bootstrap, self.kafka.security) as broker:
            await broker.apply(
                self.topic_prefix, {who: self.guard.password(who) for who in PRINCIPALS}
            )

    def _require_kind(self) -> None:
        """Data of an open stack stays open and of a secured one secured: its users and passwords are in the data."""
        there = (self.home / "kafka" / "data").is_dir()
        if there and self.secured != (self.home / "secrets").is_dir():
            raise Misconfigured(
                f"choose another folder, or empty it with `make clean`: the data in {self.home} is of "
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
        child = process.start(command, self.logs / "migrate.log")
        if await process.wait_exit(child, 60) != 0:
            child.kill()
            child.wait()
            raise Misconfigured(f"the database was not migrated; the end of {self.logs / 'migrate.log'}:\n"
                                f"{process.tail(self.logs / 'migrate.log')}")  # fmt: skip

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
            self.told(f"{status.name} does not start: {process.tail(status.log, 1)}")
        elif status.state == "waiting":
            self.told(f"{status.name} ended with status {status.exit_code} and is started anew")
        if self.file.exists():
            self._write_down()

    def _server_changed(self, status: Status, said: str) -> None:
        if status.state == "waiting":
            self.told(f"{status.name} is started anew on its data: {said}")
        elif status.state == "failed":
            self.told(
                f"look at {status.log}: {status.name} does not stay up, so the stack is stopped ({said})"
            )
        if self.file.exists():
            self._write_down()

    def _watch_ended(self, watcher: asyncio.Task[None]) -> None:
        if not watcher.cancelled():
            self.lost.set()
            watcher.result()

    def _operators(self) -> dict[str, str]:
        """How the command line logs in."""
        assert self.guard is not None
        return {
            "kafka_security_protocol": self.guard.protocol,
            "kafka_user": OPERATORS,
            "kafka_password_file": str(self.guard.password_file(OPERATORS)),
            "kafka_ca": str(self.guard.ca),
            "party_key_file": str(self.home / "secrets" / f"party_{OPERATORS}"),
        }

    def _write_down(self) -> None:
        text = {
            "kafka": self.kafka.bootstrap,
            "postgres": self.dsn,
            "home": str(self.home),
            "pid": os.getpid(),
            "ports": dict(self.ports),
            "bank_url": self.bank_url,
            "topic_prefix": self.topic_prefix,
            **(self._operators() if self.guard else {}),
            "programs": {s.name: {**asdict(s), "log": str(s.log)} for s in self.status()},
        }
        draft = self.file.with_suffix(".part")
        draft.write_text(json.dumps(text, indent=2))
        draft.replace(self.file)


def find(home: Path | None = None) -> dict[str, Any]:
    """What the running stack wrote down about itself; empty if none runs, whatever file a killed one left."""
    return lock.written(home or home_dir())
