"""A backup of a server with passwords, and what a restore from it has; the whole stack's is in tests/faults."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import asyncpg
import pytest

from deploy.embedded import backup
from deploy.embedded.postgres import EmbeddedPostgres
from services.schema import migrate
from shared.errors import Misconfigured


async def test_a_synchronous_backup_has_every_commit_that_was_answered(tmp_path: Path) -> None:
    postgres = EmbeddedPostgres(tmp_path / "postgres", passwords=True)
    await postgres.start()
    folder = tmp_path / "backup"
    try:
        dsn = await postgres.ensure_database("kept")
        await migrate(dsn)
        conn = await asyncpg.connect(dsn)
        await conn.execute("CREATE TABLE public.kept (n int)")
        await conn.execute("INSERT INTO public.kept SELECT generate_series(1, 1000)")
        follower = backup.Follower(dsn, folder, synchronous=True)
        await follower.start()
        await backup.base(dsn, folder)
        for n in range(1001, 1101):
            await conn.execute("INSERT INTO public.kept VALUES ($1)", n)
        postgres.kill()
        conn.terminate()
        await follower.end()
        shutil.rmtree(postgres.data)
        done = await backup.restore(folder, postgres)
        assert done.replaced is None
        assert done.last_commit is not None
        await postgres.start()
        conn = await asyncpg.connect(dsn)
        assert await conn.fetchval("SELECT array_agg(n ORDER BY n) FROM public.kept") == list(
            range(1, 1101)
        )
        # It is a server like before: it waits for no follower, takes nothing in any more, and can be backed up anew.
        await asyncio.wait_for(conn.execute("INSERT INTO public.kept VALUES (0)"), 5)
        assert await conn.fetchval("SHOW restore_command") == ""
        await conn.close()
        await backup.base(dsn, tmp_path / "next")
    finally:
        await postgres.stop()


async def test_without_a_follower_commits_wait_until_they_are_released(tmp_path: Path) -> None:
    postgres = EmbeddedPostgres(tmp_path / "postgres")
    await postgres.start()
    try:
        follower = backup.Follower(postgres.dsn(), tmp_path / "backup", synchronous=True)
        await follower.start()
        await follower.end()
        conn = await asyncpg.connect(postgres.dsn())
        waiting = asyncio.create_task(conn.execute("CREATE TABLE kept (n int)"))
        await asyncio.sleep(1)
        assert not waiting.done()
        await backup.release(postgres.dsn())
        await asyncio.wait_for(waiting, 10)
        assert await conn.fetchval("SELECT count(*) FROM pg_replication_slots") == 0
        await conn.close()
    finally:
        await postgres.stop()


async def test_a_follower_that_has_ended_leaves_nothing_for_which_changes_are_kept(
    tmp_path: Path,
) -> None:
    postgres = EmbeddedPostgres(tmp_path / "postgres")
    await postgres.start()
    try:
        conn = await asyncpg.connect(postgres.dsn())
        slots = "SELECT array_agg(active) FROM pg_replication_slots"
        killed = backup.Follower(postgres.dsn(), tmp_path / "killed")
        await killed.start()
        await killed.end()
        first = await conn.fetchval("SELECT restart_lsn FROM pg_replication_slots")
        await conn.execute("SELECT pg_switch_wal()")
        next_one = backup.Follower(postgres.dsn(), tmp_path / "next")
        await next_one.start()
        assert await conn.fetchval(
            "SELECT restart_lsn > $1::pg_lsn FROM pg_replication_slots", first
        ), "it began anew"
        await backup.Follower(postgres.dsn(), tmp_path / "plain").stop()
        assert await conn.fetchval(slots) == [True]
        await next_one.stop()
        assert await conn.fetchval(slots) is None
        await conn.close()
    finally:
        await postgres.stop()


async def test_what_is_no_backup_or_damaged_or_in_use_is_refused_and_nothing_is_touched(
    tmp_path: Path,
) -> None:
    postgres = EmbeddedPostgres(tmp_path / "postgres")
    await postgres.start()
    folder = tmp_path / "backup"
    try:
        dsn = await postgres.ensure_database("kept")
        await migrate(dsn)
        await backup.base(dsn, folder)
        with pytest.raises(Misconfigured, match="choose an empty folder"):
            await backup.base(dsn, folder)
        with pytest.raises(Misconfigured, match="stop the stack first"):
            await backup.restore(folder, postgres)
    finally:
        await postgres.stop()
    with pytest.raises(Misconfigured, match="has no whole copy"):
        await backup.restore(tmp_path / "none", postgres)
    (folder / "base" / "PG_VERSION").write_text("17\n")
    with pytest.raises(Misconfigured, match=r"this one is damaged, 1 files .*PG_VERSION"):
        await backup.restore(folder, postgres)
    assert (postgres.data / "PG_VERSION").read_text() == "18\n"
