"""Where the running stack is, and how a command prints: data on stdout, the rest on stderr."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import sys
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import typer

from deploy.embedded import lock
from services.cli.credentials import _with_secret, party_pem_of, security_of
from shared.kafka import OPEN, Security

if TYPE_CHECKING:
    from aiokafka import AIOKafkaProducer
    from rich.console import Console
    from rich.text import Text

T = TypeVar("T")
HOME: Final = typer.Option(
    None,
    "--home",
    readable=False,
    help="folder of the stack's data, logs and keys; .crossborder by default",
)
"""The folder is checked where it is opened, so that the error is one sentence."""

PIPE_COLUMNS = 160
"""Width of tables that go into a file or pipe."""


class Exit(IntEnum):
    """Exit status of every command."""

    DONE = 0
    NO = 1
    WRONG = 2
    UNREACHABLE = 3


class UsageError(Exception):
    """The usage or the input is wrong; the text says what to do."""


class Unreachable(Exception):
    """The stack, or a needed part of it, does not answer; the text says what to do."""


@dataclass(frozen=True)
class RunningStack:
    """The running stack: bootstrap servers, database DSN, a test's topic prefix, home folder."""

    kafka: str
    postgres: str
    prefix: str
    home: Path
    security: Security = OPEN
    party_pem: bytes | None = field(default=None, repr=False)
    """The key with which the command line signs as a platform, if it has one."""

    @property
    def known(self) -> Mapping[str, Any]:
        """Return what the embedded stack wrote to `stack.json`; empty for any other stack."""
        return stack_file(self.home)


def home_of(home: Path | None) -> Path:
    """Return the stack's folder: as given, else `CROSSBORDER_HOME`, else `.crossborder`."""
    return home or Path(os.environ.get("CROSSBORDER_HOME") or ".crossborder")


def stack_file(home: Path) -> dict[str, Any]:
    """Return `stack.json` of a running embedded stack; empty if none runs."""
    return lock.written(home)


def none_runs(home: Path) -> Unreachable:
    """Return the error that no stack of this folder answers: it is starting, or there is none."""
    if lock.runs(home):
        return Unreachable(
            f"wait until the stack in {home} is up: process {lock.holder(home) or 'unknown'} is "
            "starting or stopping it"
        )
    return Unreachable(f"start the stack with `crossborder up`: none is running in {home}")


def target(home: Path | None = None) -> RunningStack:
    """Return the running stack: by `CROSSBORDER_KAFKA` and `CROSSBORDER_POSTGRES`, else embedded.

    Raises Unreachable if none runs.
    """
    folder = home_of(home)
    given = {} if home is not None else _given()
    running = {} if "postgres" in given else stack_file(folder)
    postgres = given.get("postgres") or str(running.get("postgres", ""))
    kafka = given.get("kafka") or str(running.get("kafka", ""))
    if not postgres:
        raise Unreachable(
            "start the stack with `crossborder up`, or set CROSSBORDER_KAFKA and "
            f"CROSSBORDER_POSTGRES: none is running in {folder}"
        )
    if "postgres" in given:
        postgres = _with_secret(postgres)
    prefix = os.environ.get("CROSSBORDER_TOPIC_PREFIX") or str(running.get("topic_prefix", ""))
    security, pem = security_of(running, env=home is None), party_pem_of(running, env=home is None)
    return RunningStack(kafka or "127.0.0.1:9092", postgres, prefix, folder, security, pem)


def _given() -> dict[str, str]:
    names = {"postgres": "CROSSBORDER_POSTGRES", "kafka": "CROSSBORDER_KAFKA"}
    return {name: value for name, key in names.items() if (value := os.environ.get(key))}


def _first(to: RunningStack) -> str:
    """Return what to do first where a part does not answer: a running stack needs no start."""
    return (
        "look at `crossborder status`, then at the log it names"
        if to.known
        else "start the stack with `crossborder up`"
    )


@asynccontextmanager
async def database(to: RunningStack, *, write: bool = False) -> AsyncIterator[Any]:
    """Connect to the stack's database, read-only unless `write`.

    Raises Unreachable if it does not answer, or the connection is cut.
    """
    import asyncpg

    from shared.database import CUT, LOST, redacted

    settings = {
        "application_name": "crossborder-cli",
        "default_transaction_read_only": "off" if write else "on",
        "jit": "off",
    }
    try:
        conn = await asyncpg.connect(
            to.postgres, timeout=5, command_timeout=120, server_settings=settings
        )
    except (*LOST, asyncpg.PostgresError, ValueError) as error:
        raise Unreachable(
            f"{_first(to)}: PostgreSQL does not answer at {redacted(to.postgres)} "
            f"({str(error) or 'timeout'})"
        ) from None
    try:
        for kind in ("json", "jsonb"):
            await conn.set_type_codec(
                kind, encoder=json.dumps, decoder=json.loads, schema="pg_catalog"
            )
        yield conn
    except CUT as error:
        raise Unreachable(
            "try again, and look at `crossborder status`: PostgreSQL ended the connection at "
            f"{redacted(to.postgres)} "
            f"({type(error).__name__})"
        ) from None
    finally:
        # A connection that was cut cannot be closed in order; the reason was raised already.
        with suppress(*CUT, OSError):
            await conn.close()


@asynccontextmanager
async def kafka_errors(to: RunningStack) -> AsyncIterator[None]:
    from aiokafka.errors import KafkaError

    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        yield
    except (KafkaError, OSError) as error:
        raise Unreachable(
            f"{_first(to)}: Kafka does not answer at {to.kafka} ({type(error).__name__})"
        ) from None


@asynccontextmanager
async def producer(to: RunningStack) -> AsyncIterator[AIOKafkaProducer]:
    from aiokafka import AIOKafkaProducer

    from shared.topics import MESSAGE_BYTES_MAX

    async with kafka_errors(to):
        made = AIOKafkaProducer(
            bootstrap_servers=to.kafka,
            client_id="crossborder-cli",
            enable_idempotence=True,
            acks="all",
            linger_ms=5,
            max_batch_size=256 * 1024,
            max_request_size=MESSAGE_BYTES_MAX,
            request_timeout_ms=15_000,
            **to.security.options(),
        )
        try:
            await made.start()
            yield made
        finally:
            await made.stop()


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def stderr() -> Console:
    from rich.console import Console

    return Console(
        stderr=True,
        highlight=False,
        markup=False,
        emoji=False,
        width=None if sys.stderr.isatty() else PIPE_COLUMNS,
    )


def stdout() -> Console:
    from rich.console import Console
    from rich.table import Table

    from services.cli.tables import laid_out

    class Paper(Console):
        def on_broken_pipe(self) -> None:
            """Raise instead of ending with 1, which here says that the answer is no."""
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

        def print(self, *objects: Any, **how: Any) -> None:
            """Print sentences unbroken, and tables so wide that no id is cut."""
            page = self.width
            try:
                for each in objects:
                    if isinstance(each, Table):
                        self.width = max(self.width, laid_out(each, self))
                if all(isinstance(each, str) for each in objects):
                    how.setdefault("soft_wrap", True)
                super().print(*objects, **how)
            finally:
                self.width = page

    return Paper(
        highlight=False,
        markup=False,
        emoji=False,
        width=None if sys.stdout.isatty() else PIPE_COLUMNS,
    )


def status_mark(ok: bool | None) -> Text:
    """Return `ok`, `NO`, or `--` for what could not be judged."""
    from rich.text import Text

    return Text("--", "yellow") if ok is None else Text("ok", "green") if ok else Text("NO", "red")


def print_err(text: str) -> None:
    print(text, file=sys.stderr)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(word, list(known), n=1)
    return f"did you mean {near[0]!r}? " if near else ""


def as_json(document: Any) -> None:
    print(json.dumps(document, indent=2, ensure_ascii=False, default=_plain))


def _plain(value: Any) -> Any:
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, bytes | memoryview):
        return f"<{len(value)} bytes>"
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def exit_with(status: Exit) -> NoReturn:
    raise typer.Exit(int(status))
