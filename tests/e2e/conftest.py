"""One stack a run, as `crossborder up` starts it: real broker and database, every service and
sandbox a process.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer

from deploy.embedded.ports import PORTS
from deploy.embedded.process import free_port
from deploy.embedded.stack import Stack
from services.cli.connect import RunningStack
from services.cli.stack import app as cli
from services.cli.stack import readiness


@dataclass(frozen=True)
class Running:
    """A stack that runs, and how a test reaches it."""

    stack: Stack

    @property
    def bootstrap(self) -> str:
        return self.stack.kafka.bootstrap

    @property
    def dsn(self) -> str:
        return self.stack.dsn

    @property
    def home(self) -> Path:
        return self.stack.home

    @property
    def ports(self) -> Mapping[str, int]:
        return self.stack.ports

    @property
    def target(self) -> RunningStack:
        return RunningStack(self.bootstrap, self.dsn, "", self.home)

    @property
    def env(self) -> dict[str, str]:
        """The environment in which a command finds this stack, and no other."""
        return {
            **os.environ,
            "CROSSBORDER_HOME": str(self.home),
            "CROSSBORDER_KAFKA": self.bootstrap,
            "CROSSBORDER_POSTGRES": self.dsn,
        }

    def restarts(self) -> dict[str, int]:
        """How often each program had to be started anew."""
        return {status.name: status.restarts for status in self.stack.status()}

    async def publish(
        self, topic: str, *records: tuple[bytes | None, bytes, tuple[tuple[str, bytes], ...]]
    ) -> None:
        """Publish keys, values and headers, in this order, as a shop does."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self.bootstrap, acks="all", max_request_size=4 * 1024 * 1024
        )
        await producer.start()
        try:
            for key, value, headers in records:
                await producer.send_and_wait(topic, value, key, headers=list(headers))
        finally:
            await producer.stop()

    async def fetch(self, query: str, *args: Any) -> list[Any]:
        """Rows, as the superuser sees them."""
        conn = await asyncpg.connect(self.dsn)
        try:
            return list(await conn.fetch(query, *args))
        finally:
            await conn.close()

    async def command(self, *args: str) -> tuple[int, str, str]:
        """Run `crossborder …`; returns its exit status, what it wrote to stdout and to stderr."""
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "services",
            *args,
            env=self.env,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await child.communicate()
        return child.returncode or 0, out.decode(), err.decode()


@pytest.fixture(scope="session")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """The stack of the run, on free ports in a folder of its own; everything is ready."""
    made = cli.make(tmp_path_factory.mktemp("stack"))
    made = Stack(
        home=made.home, ports={name: free_port() for name in PORTS}, programs=made.programs
    )
    await made.start()
    try:
        missing = await readiness.until_ready(made)
        assert missing == [], readiness.not_ready(made, missing)
        yield Running(made)
    finally:
        await made.stop()
