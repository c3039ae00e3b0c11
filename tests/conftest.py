"""One real Kafka and one real PostgreSQL a run; a database and a topic prefix of its own for each test."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from hypothesis import settings

from deploy.embedded import process
from deploy.embedded.kafka import EmbeddedKafka
from deploy.embedded.postgres import EmbeddedPostgres
from services.schema import migrate

TEMPLATE = "crossborder_template"

# A machine that is busy with something else takes an example past the usual 200 ms: that says nothing of the code.
settings.register_profile("unhurried", deadline=None)
# What `make quick` takes; the whole suite tries the examples of the other.
settings.register_profile("quick", deadline=None, max_examples=20)
settings.load_profile("unhurried")


TEMP_ROOT: pytest.StashKey[Path] = pytest.StashKey()


def pytest_configure(config: pytest.Config) -> None:
    """Each run has a folder of its own for what its tests leave, gone after it unless something failed.

    Runs that share pytest's own close it to one another: as root the server runs as another user, and with the next run's start
    it could reach its data no more.
    """
    if config.option.basetemp is None and "PYTEST_DEBUG_TEMPROOT" not in os.environ:
        root = config.stash[TEMP_ROOT] = Path(tempfile.mkdtemp(prefix="cb-tests-"))
        root.chmod(0o755)
        os.environ["PYTEST_DEBUG_TEMPROOT"] = str(root)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    root = session.config.stash.get(TEMP_ROOT, None)
    if root is not None and exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        shutil.rmtree(root, ignore_errors=True)


def pytest_unconfigure(config: pytest.Config) -> None:
    if config.stash.get(TEMP_ROOT, None) is not None:
        del os.environ["PYTEST_DEBUG_TEMPROOT"]


@dataclass(frozen=True)
class Server:
    """A PostgreSQL server with a migrated template database in it."""

    root_dsn: str
    template: str
    log: Path | None = None
    """What it writes of errors; None of a server that ran already."""

    def dsn(self, name: str) -> str:
        return urlunsplit(urlsplit(self.root_dsn)._replace(path=f"/{name}"))


@pytest.fixture(scope="session")
async def kafka(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The bootstrap servers; CROSSBORDER_TEST_KAFKA names a broker that runs already."""
    given = os.environ.get("CROSSBORDER_TEST_KAFKA")
    if given:
        yield given
        return
    broker = EmbeddedKafka(tmp_path_factory.mktemp("kafka"))
    await broker.start()
    yield broker.bootstrap
    ended = None if broker.running else process.tail(broker.log)
    await broker.stop()
    assert ended is None, f"Kafka ended while the tests ran; the end of its log:\n{ended}"


@pytest.fixture(scope="session")
async def postgres(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A server of the run's own; CROSSBORDER_TEST_POSTGRES is a superuser's DSN of one that runs already."""
    given = os.environ.get("CROSSBORDER_TEST_POSTGRES")
    if given:
        template = f"{TEMPLATE}_{uuid4().hex[:8]}"
        yield await _with_template(given, template)
        await _execute(given, f'DROP DATABASE "{template}" WITH (FORCE)')
        return
    server = EmbeddedPostgres(tmp_path_factory.mktemp("postgres"))
    await server.start()
    yield replace(await _with_template(server.dsn(), TEMPLATE), log=server.log)
    ended = None if server.running else process.tail(server.log)
    await server.stop()
    assert ended is None, f"PostgreSQL ended while the tests ran; the end of its log:\n{ended}"


@pytest.fixture
async def database(postgres: Server) -> AsyncIterator[str]:
    """The DSN of a fresh, migrated database that is dropped after the test."""
    name = f"test_{uuid4().hex[:12]}"
    await _execute(postgres.root_dsn, f'CREATE DATABASE "{name}" TEMPLATE "{postgres.template}"')
    yield postgres.dsn(name)
    await _execute(postgres.root_dsn, f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
async def empty_database(postgres: Server) -> AsyncIterator[str]:
    """The DSN of a fresh database that was never migrated."""
    name = f"empty_{uuid4().hex[:12]}"
    await _execute(postgres.root_dsn, f'CREATE DATABASE "{name}"')
    yield postgres.dsn(name)
    await _execute(postgres.root_dsn, f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
async def topic_prefix(kafka: str) -> AsyncIterator[str]:
    """What this test puts before its topics and groups; its topics are deleted after it."""
    prefix = f"t{uuid4().hex[:10]}."
    yield prefix
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        mine = [topic for topic in await admin.list_topics() if topic.startswith(prefix)]
        if mine:
            await admin.delete_topics(mine)
    finally:
        await admin.close()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder, so that a stack that runs on this machine is never found by accident."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("CROSSBORDER_HOME", str(folder))
    return folder


async def _with_template(root_dsn: str, template: str) -> Server:
    await _execute(root_dsn, f'CREATE DATABASE "{template}"')
    server = Server(root_dsn, template)
    await migrate(server.dsn(template))
    return server


async def _execute(dsn: str, sql: str) -> None:
    conn = await asyncpg.connect(dsn)
    try:
        await conn.execute(sql)
    finally:
        await conn.close()
