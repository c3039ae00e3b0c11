"""`crossborder backup` and `restore`: the embedded stack's database, to the last change."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from deploy.embedded import lock
from services.cli.connect import (
    HOME,
    Unreachable,
    UsageError,
    home_of,
    none_runs,
    print_err,
    run,
    stack_file,
)
from shared.tasks import wait_for_event

if TYPE_CHECKING:
    from deploy.embedded.backup import Follower


def register(app: typer.Typer) -> None:
    for command in (backup, restore):
        app.command()(command)


def backup(
    folder: Path = typer.Argument(..., help="an empty folder, on another disk"),
    follow: bool = typer.Option(
        False, "--follow", help="go on receiving every change until Ctrl-C"
    ),
    synchronous: bool = typer.Option(
        False,
        "--synchronous",
        help="with --follow: no commit counts before it is in the backup; without the follower "
        "commits wait",
    ),
    release: bool = typer.Option(
        False,
        "--release",
        help="let commits wait for no follower any more, keep no changes for one that is gone, "
        "and do nothing else",
    ),
    home: Path | None = HOME,
) -> None:
    """Copy the embedded stack's database while it runs.

    The keys are not part of the copy: keep them elsewhere.
    """
    if synchronous and not follow:
        raise UsageError(
            "give --follow with --synchronous: a commit can only wait for a follower that runs"
        )
    running = stack_file(home_of(home))
    if not running:
        raise none_runs(home_of(home))
    run(
        _backup(
            str(running["postgres"]),
            folder,
            follow=follow,
            synchronous=synchronous,
            release=release,
        )
    )


async def _backup(
    dsn: str, folder: Path, *, follow: bool, synchronous: bool, release: bool
) -> None:
    from deploy.embedded import backup as backups

    if release:
        await backups.release(dsn)
        print_err("commits wait for no follower")
        return
    follower = backups.Follower(dsn, folder, synchronous=synchronous)
    if follow:
        await follower.start()
    try:
        await backups.base(dsn, folder)
        print_err(
            f"the database is in {folder}; the keys, {Path('keys')} in the home folder, are not: "
            "keep them elsewhere"
        )
        if follow:
            await _until_stopped(follower, folder)
    finally:
        await _end(follower)


async def _end(follower: Follower) -> None:
    from shared.database import LOST

    try:
        await follower.stop()
    except LOST as error:
        await follower.end()
        raise Unreachable(
            "start the stack with `crossborder up`, then let it go with `crossborder backup "
            "FOLDER --release`: the database "
            f"went away ({type(error).__name__}), and keeps changes or has commits wait for this "
            "backup"
        ) from None


async def _until_stopped(follower: object, folder: Path) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    print_err("following; Ctrl-C ends it")
    while not stop.is_set():
        if not getattr(follower, "running", False):
            raise Unreachable(f"look at {folder / 'follow.log'}: changes are no longer received")
        await wait_for_event(stop, 1.0)


def restore(
    folder: Path = typer.Argument(..., help="a folder that `crossborder backup` made"),
    home: Path | None = HOME,
) -> None:
    """Replace the stopped stack's database by a backup.

    The database is restored to the last change that the backup received.
    The next `crossborder up` reads Kafka on from there.
    """
    from deploy.embedded import backup as backups
    from deploy.embedded.postgres import EmbeddedPostgres

    where = home_of(home)
    if lock.runs(where):
        raise UsageError(f"stop the stack first (`crossborder down`): it runs in {where}")
    postgres = EmbeddedPostgres(where / "postgres", log=where / "logs" / "postgres.log")
    done = run(backups.restore(folder, postgres))
    if done.last_commit is not None:
        print(f"restored to {done.last_commit.isoformat()}")
    if done.replaced is not None:
        print_err(f"what was there is in {done.replaced}")
    print_err("`crossborder up` goes on from there; make a new backup: this one no longer follows")
