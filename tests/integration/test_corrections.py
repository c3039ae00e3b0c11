"""A list that customs returned is corrected once, whatever the authority says again of the one before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deploy.samples import submission
from services.customs.domain.numbers import cop_no_of
from shared import topics
from shared.identity import order_id_of
from tests.integration.test_reactions import SUBMITTED, shop_record
from tests.integration.world import opened


@pytest.mark.parametrize("sample", ["cherries", "toys_us"])
async def test_a_return_said_again_in_other_bytes_makes_no_second_correction(
    database: str, keys: Path, sample: str
) -> None:
    async with opened(database, keys) as world:
        at = datetime.now(UTC) - timedelta(hours=2)
        made = submission(
            sample,
            1,
            seed=7,
            token="tok_ok",
            marker="return.again",
            prefix="AGAIN",
            at=at,
            person=1,
        )
        world.publish(topics.SUBMISSIONS, [shop_record(made["order_no"], made, SUBMITTED)])
        await world.settle_down()
        assert await world.states() == {made["order_no"]: "fulfilled"}
        row = await world.admin.fetchrow(
            "SELECT attempt, cop_no, released FROM customs.declaration"
        )
        order_id = order_id_of(made["platform"]["code"], made["order_no"])
        assert tuple(row) == (2, cop_no_of(order_id), True)
        said = await world.admin.fetch(
            "SELECT followed FROM customs.receipt WHERE status = '100' ORDER BY id"
        )
        assert [row["followed"] for row in said] == [True, False]
        assert (
            await world.admin.fetchval("SELECT count(*) FROM customs.batch WHERE kind = 'declare'")
            == 2
        )
        assert await world.broken() == {}
