"""Apache Kafka as one child process in KRaft mode: jars by Maven, killed and restarted at will."""

from __future__ import annotations

import asyncio
import signal
import string
import subprocess
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from deploy.embedded import process
from deploy.embedded.java import FOLDER, find_java, resolve_jars
from deploy.embedded.server import Server
from shared.errors import Misconfigured, Unavailable
from shared.kafka import MECHANISM, OPEN, Security
from shared.topics import ADMIN, SUPER_USERS

START_S: Final = 60.0
# The broker shares two cores with everything else: serial collector, no more heap than it needs.
JVM: Final = (
    "-Xms256m",
    "-Xmx384m",
    "-XX:+UseSerialGC",
    "-XX:MaxDirectMemorySize=256m",
    "-Xss512k",
    "-XX:TieredStopAtLevel=1",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.awt.headless=true",
)


@dataclass(frozen=True)
class Secured:
    """A broker with authentication.

    `secrets` has its passwords and certificates, made by `make secrets`.
    """

    secrets: Path
    tls: bool = True

    @property
    def protocol(self) -> Literal["SASL_SSL", "SASL_PLAINTEXT"]:
        return "SASL_SSL" if self.tls else "SASL_PLAINTEXT"

    @property
    def ca(self) -> Path:
        return self.secrets / "tls" / "ca.crt"

    def password_file(self, user: str) -> Path:
        return self.secrets / f"kafka_{user}"

    def password(self, user: str) -> str:
        return self.password_file(user).read_text().strip()

    def login(self, user: str) -> Security:
        return Security(self.protocol, user, self.password(user), self.ca if self.tls else None)


class EmbeddedKafka(Server):
    """One broker on 127.0.0.1 with its data under `folder`; it survives stops and kills.

    `port` and `controller_port` 0 mean any free ports, the same for the life of this object.
    """

    def __init__(
        self,
        folder: Path,
        port: int = 0,
        controller_port: int = 0,
        *,
        log: Path | None = None,
        secured: Secured | None = None,
    ) -> None:
        super().__init__()
        self.secured = secured
        self.folder = folder.resolve()
        self.port = port or process.free_port()
        self.controller_port = controller_port or process.free_port()
        self.log = log or self.folder / "kafka.log"

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def security(self) -> Security:
        return self.secured.login(ADMIN) if self.secured else OPEN

    async def start(self, timeout_s: float = START_S) -> None:
        """Format the storage if it is new, start the broker and wait until it answers."""
        if self.running:
            return
        process.require_free(self.port, "Kafka", "CROSSBORDER_KAFKA_PORT")
        process.require_free(
            self.controller_port, "Kafka's controller", "CROSSBORDER_KAFKA_CONTROLLER_PORT"
        )
        java = find_java()
        libs = await asyncio.to_thread(resolve_jars)
        config = self._write_config()
        if not (self.folder / "data" / "meta.properties").is_file():
            await asyncio.to_thread(self._format, java, libs, config)
        self._child = process.start(
            [*self._java(java, libs, JVM), "kafka.Kafka", str(config)], self.log, cwd=self.folder
        )
        try:
            await self._wait_ready(timeout_s)
        except BaseException:
            self.kill()
            raise
        self._is_wanted = True

    def pause(self) -> None:
        """Stop the process with SIGSTOP: connections stay open and nothing is answered."""
        if self._child is not None:
            self._child.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        if self._child is not None:
            self._child.send_signal(signal.SIGCONT)

    def _write_config(self) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        parts = ["server"]
        values = {
            "port": str(self.port),
            "controller_port": str(self.controller_port),
            "data": str(self.folder / "data"),
        }
        if self.secured is not None:
            parts += ["secured", "tls"] if self.secured.tls else ["secured"]
            values |= {
                "secrets": str(self.secured.secrets.resolve()),
                "protocol": self.secured.protocol,
            }
        text = "".join((FOLDER / f"{part}.properties").read_text() for part in parts)
        config = self.folder / "server.properties"
        config.write_text(string.Template(text).substitute(values))
        return config

    def _java(self, java: str, libs: Path, options: tuple[str, ...]) -> list[str]:
        logging = f"-Dlog4j2.configurationFile={FOLDER / 'log4j2.xml'}"
        return [java, *options, logging, "-cp", f"{libs.resolve()}/*"]

    def _format(self, java: str, libs: Path, config: Path) -> None:
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        arguments = self.folder / "format.arguments"
        tool = ["kafka.tools.StorageTool", f"@{arguments}"]
        # The first users are in the log from the start. Their passwords are passed in a file,
        # because everyone can read an argument list.
        lines = ["format", f"--cluster-id={cluster}", f"--config={config}"]
        if self.secured is not None:
            lines += [
                f"--add-scram={MECHANISM}=[name={who},password={self.secured.password(who)}]"
                for who in SUPER_USERS
            ]
        arguments.touch(0o600)
        arguments.write_text("\n".join([*lines, ""]))
        try:
            done = subprocess.run(
                [
                    *self._java(
                        java, libs, ("-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
                    ),
                    *tool,
                ],
                capture_output=True,
                text=True,
                check=False,
            )
        finally:
            arguments.unlink()
        if done.returncode:
            output = (done.stdout + done.stderr).strip()
            raise Misconfigured(
                f"Kafka's storage in {self.folder} cannot be formatted: {output[-600:]}"
            )

    async def _wait_ready(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if not self.running:
                raise Unavailable(
                    f"Kafka ended while it started; the end of {self.log}:\n"
                    f"{process.tail(self.log)}"
                )
            if await _accepts(self.port) and await answers(self.bootstrap, self.security):
                return
            await asyncio.sleep(0.1)
        raise Unavailable(
            f"Kafka does not answer after {timeout_s:.0f} s; the end of {self.log}:\n"
            f"{process.tail(self.log)}"
        )


async def wait_led(
    bootstrap: str, topics: Iterable[str], timeout_s: float = 30.0, security: Security = OPEN
) -> None:
    """Wait until the broker leads every partition of new topics.

    The broker confirms a creation before it opens the logs, and refuses writes for about a second.
    """
    names = list(topics)
    deadline = time.monotonic() + timeout_s
    while names and not await _leads(bootstrap, names, timeout_s, security):
        if time.monotonic() > deadline:
            raise Unavailable(f"Kafka does not lead its new topics after {timeout_s:.0f} s")
        await asyncio.sleep(0.1)


async def _leads(bootstrap: str, names: list[str], timeout_s: float, security: Security) -> bool:
    consumer = AIOKafkaConsumer(
        *names, bootstrap_servers=bootstrap, group_id=None, **security.options()
    )
    try:
        await consumer.start()
        every = [
            TopicPartition(n, p) for n in names for p in consumer.partitions_for_topic(n) or ()
        ]
        # The library itself repeats the request while the answer is "not the leader".
        async with asyncio.timeout(timeout_s):
            await consumer.end_offsets(every)
    except (KafkaError, TimeoutError):
        return False
    finally:
        await consumer.stop()
    return True


async def _accepts(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    try:
        await writer.wait_closed()
    except OSError:
        return False
    return True


async def answers(bootstrap: str, security: Security) -> bool:
    """Return whether the broker is in its own metadata; an open port comes earlier than that."""
    admin = AIOKafkaAdminClient(
        bootstrap_servers=bootstrap,
        client_id="embedded",
        request_timeout_ms=5000,
        **security.options(),
    )
    try:
        await admin.start()
        return bool((await admin.describe_cluster())["brokers"])
    except (KafkaError, OSError, TimeoutError):
        return False
    finally:
        await admin.close()
