"""Backup and restore of the embedded database: a base copy and every later change as it is
committed.

The backup is files, not a dump, so that a restore reaches the last received change. Bank and
customs do not go back in time with us: a state without the last minutes would declare again what is
declared already. Kafka needs no backup for this, because offsets are in the database. After a
restore, each service reads on behind the last record that it handled, and repeats events under the
same ids.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import asyncpg

from deploy.embedded import process
from deploy.embedded.postgres import SYSTEM_USER, EmbeddedPostgres, binaries
from shared.errors import Misconfigured, Unavailable

NAME: Final = "crossborder_backup"
"""The name of the replication slot and of the follower's connection."""
START_S: Final = 20.0
STOP_S: Final = 20.0


@dataclass(frozen=True)
class Restored:
    """The last transaction of a restore, and the folder of the data that it replaced."""

    last_commit: datetime | None
    replaced: Path | None


async def base(dsn: str, folder: Path) -> None:
    """Copy the running server into `folder/base`, complete in itself."""
    _make_empty(folder)
    tool = [
        str(binaries() / "pg_basebackup"),
        "--dbname",
        dsn,
        "--pgdata",
        str(folder / "base"),
        "--checkpoint=fast",
    ]
    await _run(
        [*tool, "--wal-method=stream", "--manifest-checksums=SHA256", "--no-password"],
        "the database was not copied",
    )
    conn = await asyncpg.connect(dsn)
    try:
        rows = await conn.fetch(
            "SELECT schema || '/' || name AS script FROM migrations.applied ORDER BY 1"
        )
    finally:
        await conn.close()
    description = {
        "made_at": datetime.now(UTC).isoformat(),
        "release": version("crossborder"),
        "migrations": [r["script"] for r in rows],
    }
    (folder / "backup.json").write_text(json.dumps(description, indent=2))


def _make_empty(folder: Path) -> None:
    if (folder / "base").exists():
        raise Misconfigured(f"choose an empty folder: {folder} has a backup already")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


class Follower:
    """Receives every change into `folder/wal` from now on.

    With `synchronous`, a commit waits until the backup has it. While no follower runs, commits then
    wait until one runs again or `release` is called.
    """

    def __init__(self, dsn: str, folder: Path, *, synchronous: bool = False) -> None:
        self._dsn = dsn
        self._folder = folder
        self._synchronous = synchronous
        self._child: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Return once changes arrive.

        A killed follower's slot is dropped: nothing can continue from it.
        """
        wal = self._folder / "wal"
        wal.mkdir(mode=0o700, parents=True, exist_ok=True)
        tool = [
            str(binaries() / "pg_receivewal"),
            "--directory",
            str(wal),
            "--slot",
            NAME,
            "--no-password",
        ]
        dsn = f"{self._dsn}&application_name={NAME}"
        await _drop_slot(self._dsn)
        await _run(
            [*tool, "--dbname", dsn, "--create-slot", "--if-not-exists"],
            "the server keeps no changes for a backup",
        )
        self._child = process.start(
            [*tool, "--dbname", dsn, "--synchronous"], self._folder / "follow.log"
        )
        deadline = time.monotonic() + START_S
        while not await self._is_streaming():
            if self._child.poll() is not None or time.monotonic() > deadline:
                raise Unavailable(
                    f"changes do not arrive; {process.tail(self._folder / 'follow.log')}"
                )
            await asyncio.sleep(0.1)
        if self._synchronous:
            await _system(self._dsn, f"ALTER SYSTEM SET synchronous_standby_names = '{NAME}'")

    async def stop(self) -> None:
        """End in order: commits no longer wait, and the server stores no changes for
        the follower.
        """
        if self._synchronous:
            await release(self._dsn)
        if self._child is not None:
            await self.end()
            await _drop_slot(self._dsn, STOP_S)

    async def end(self) -> None:
        """End the process only; the server may be gone."""
        if self._child is not None:
            await process.stop(self._child, signal.SIGINT, STOP_S)

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    async def _is_streaming(self) -> bool:
        conn = await asyncpg.connect(self._dsn)
        try:
            return bool(
                await conn.fetchval(
                    "SELECT count(*) FROM pg_stat_replication WHERE application_name = $1", NAME
                )
            )
        finally:
            await conn.close()


async def _drop_slot(dsn: str, timeout_s: float = 0.0) -> None:
    """Drop the slot; leave one that is still in use after `timeout_s` seconds."""
    conn = await asyncpg.connect(dsn)
    try:
        deadline = time.monotonic() + timeout_s
        while active := await conn.fetchval(
            "SELECT active FROM pg_replication_slots WHERE slot_name = $1", NAME
        ):
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(0.05)
        if active is False:
            await conn.execute("SELECT pg_drop_replication_slot($1)", NAME)
    finally:
        await conn.close()


async def release(dsn: str) -> None:
    """Stop commits from waiting for a follower, and drop the slot of one that is gone."""
    await _system(dsn, "ALTER SYSTEM RESET synchronous_standby_names")
    await _drop_slot(dsn)


async def restore(folder: Path, postgres: EmbeddedPostgres) -> Restored:
    """Replace the server's data by the backup and bring it to the last received change.

    The server is down afterwards, and the old data stays beside the new. Raises Misconfigured if
    the backup is missing or damaged, or if the server runs.
    """
    copied = folder / "base"
    if not (copied / "backup_manifest").is_file():
        raise Misconfigured(
            f"give a folder that `crossborder backup` made: {folder} has no whole copy"
        )
    if _is_running(postgres.data):
        raise Misconfigured("stop the stack first (`crossborder down`): its database runs")
    wrong = await asyncio.to_thread(lambda: list(damaged(copied)))
    if wrong:
        raise Misconfigured(
            f"choose another backup: this one is damaged, {len(wrong)} files are not as they were: "
            f"{wrong[0]}"
        )
    replaced = _set_aside(postgres.data)
    await asyncio.to_thread(_lay_out, folder, postgres.data)
    try:
        await postgres.start()
        last = await _recovered(postgres.dsn())
    finally:
        await postgres.stop()
    shutil.rmtree(postgres.data / "received", ignore_errors=True)
    return Restored(last, replaced)


def damaged(copied: Path) -> Iterator[str]:
    # pg_verifybackup would do the same, but the wheel's always ends with a segmentation fault.
    for row in json.loads((copied / "backup_manifest").read_text())["Files"]:
        file = copied / row["Path"]
        if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != row["Checksum"]:
            yield row["Path"]


def _set_aside(data: Path) -> Path | None:
    if not data.exists():
        return None
    aside = data.with_name(f"{data.name}.before-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
    data.rename(aside)
    return aside


def _lay_out(folder: Path, data: Path) -> None:
    """Lay out the copy, the changes beside it, and the settings that make the server apply them."""
    shutil.copytree(folder / "base", data, symlinks=True)
    received = data / "received"
    received.mkdir()
    for file in (folder / "wal").glob("0*") if (folder / "wal").is_dir() else ():
        # The last file is still being filled; its content so far counts.
        shutil.copy2(file, received / file.name.removesuffix(".partial"))
    settings = data / "postgresql.auto.conf"
    others = re.sub(r"(?m)^synchronous_standby_names.*\n?", "", settings.read_text())
    settings.write_text(
        f'{others}restore_command = \'cp "received/%f" "%p"\'\n'
        "recovery_target_timeline = 'latest'\n"
    )
    (data / "recovery.signal").touch()
    if os.geteuid() == 0:
        for path in (data, *data.rglob("*")):
            shutil.chown(path, SYSTEM_USER, SYSTEM_USER)


async def _recovered(dsn: str) -> datetime | None:
    conn = await asyncpg.connect(dsn)
    try:
        while await conn.fetchval("SELECT pg_is_in_recovery()"):  # noqa: ASYNC110  only the server knows
            await asyncio.sleep(0.1)
        last: datetime | None = await conn.fetchval("SELECT pg_last_xact_replay_timestamp()")
        # Later backups of the restored server must not repeat these settings.
        for name in ("restore_command", "recovery_target_timeline"):
            await conn.execute(f"ALTER SYSTEM RESET {name}")
        return last
    finally:
        await conn.close()


def _is_running(data: Path) -> bool:
    try:
        os.kill(int((data / "postmaster.pid").read_text().split("\n", 1)[0]), 0)
    except (OSError, ValueError):
        return False
    return True


async def _system(dsn: str, statement: str) -> None:
    conn: Any = await asyncpg.connect(dsn)
    try:
        # A change of what commits wait for must not wait itself.
        await conn.execute("SET synchronous_commit = local")
        await conn.execute(statement)
        await conn.execute("SELECT pg_reload_conf()")
    finally:
        await conn.close()


async def _run(command: list[str], failed: str) -> None:
    child = await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = await child.communicate()
    if child.returncode:
        raise Unavailable(f"{failed}: {(err or out).decode(errors='replace').strip()[-600:]}")
