"""The database destroyed under load and restored from its backup: the services catch up from Kafka,
and nothing is missing.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path
from typing import Final

import pytest

from deploy.embedded import backup
from services.cli.connect import database, target
from services.cli.verify import app as verify
from tests.faults.load import Load
from tests.faults.test_kills import running

ORDERS: Final = 1200
SPREAD_S: Final = 30.0
SETTLE_S: Final = 120.0


@pytest.mark.faults
@pytest.mark.timeout(600)
async def test_a_destroyed_database_is_restored_to_its_last_commit(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "backup"
    async with running(home, monkeypatch) as stack:
        to = target(stack.home)
        load = Load(to, ORDERS, 17, SPREAD_S)
        async with load.publishing():
            await asyncio.sleep(4)
            follower = backup.Follower(stack.dsn, folder, synchronous=True)
            await follower.start()
            began = time.monotonic()
            await backup.base(stack.dsn, folder)
            print(f"copied in {time.monotonic() - began:.1f} s under load")
            await asyncio.sleep(8)
            async with database(to) as conn:
                known = {
                    row["order_id"]: row["version"]
                    for row in await conn.fetch("SELECT order_id, version FROM orders.orders")
                }
            stack.postgres.kill()
            await follower.end()
            shutil.rmtree(stack.postgres.data)
            await asyncio.sleep(2)
            began = time.monotonic()
            done = await backup.restore(folder, stack.postgres)
            await stack.postgres.start()
            print(f"restored to {done.last_commit} in {time.monotonic() - began:.1f} s")
            async with database(to) as conn:
                found = {
                    row["order_id"]: row["version"]
                    for row in await conn.fetch("SELECT order_id, version FROM orders.orders")
                }
            assert len(known) > 100
            assert [
                order_id for order_id, at in known.items() if found.get(order_id, -1) < at
            ] == []
            wrong = await load.settle(SETTLE_S)
            assert wrong == []
        findings = await verify.judge(to, 30.0)
        assert [f"{f.name}: {f.offending[:5]}" for f in findings if not f.ok] == []
