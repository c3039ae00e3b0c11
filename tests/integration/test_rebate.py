"""Rebate claims over a real database: of what customs released, kept once, whoever asks and how often."""

from __future__ import annotations

import asyncio
import re
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from services.cli.connect import database as connection
from services.cli.connect import target
from services.cli.tax import rebate
from services.cli.tax.rebate_files import lists_in
from services.tax.exports.domain import Merchants
from services.tax.exports.files import load_exports
from services.tax.rebates import store as rebate_store
from services.tax.rebates.domain import PreparedClaims
from services.tax.rebates.invoices import Invoice
from services.tax.rebates.lists import ReleasedList
from shared.database import connect_pool
from shared.money import Money
from shared.settings import Settings
from tests.integration.test_reactions import LATER, STORIES, Cast, played_in
from tests.integration.test_summaries import month_ends, passes

BOOK = load_exports()


def trader(lists: list[ReleasedList]) -> Merchants:
    facts = {
        "taxpayer": "general",
        "exporter": "trader",
        "rebate_filed": True,
        "tax_registered": True,
        "valid_voucher": True,
    }
    rows = [
        {"code": code, "valid_from": date(2020, 1, 1), "source": "a test", "facts": facts}
        for code in {x.merchant for x in lists}
    ]
    return Merchants.model_validate(
        {
            "kind": "export-merchants",
            "id": "m",
            "version": 1,
            "source": "a test",
            "merchant": tuple(rows),
        }
    )


def bought(lists: list[ReleasedList]) -> list[Invoice]:
    """One invoice a list and SKU, more than enough."""
    lines = {(entry.merchant, line.sku): line.unit for entry in lists for line in entry.lines}
    return [
        Invoice(str(n), merchant, sku, Decimal(1000), unit, Money.of("70000.00", "CNY"))
        for n, ((merchant, sku), unit) in enumerate(lines.items(), 1)
    ]


async def exported(cast: Cast, stories: list[str]) -> None:
    """Exports that are released and closed, in a month that goes on."""
    cast.submit([STORIES[name] for name in stories])
    await cast.world.settle_down()
    await passes(cast.world, 1)


async def consolidated(cast: Cast) -> None:
    """The month ends, and customs closes the declarations it makes of the lists."""
    await month_ends(cast.world)
    await passes(cast.world, 1, 1)


async def released(dsn: str, monkeypatch: pytest.MonkeyPatch, first: date) -> list[ReleasedList]:
    monkeypatch.setenv("CROSSBORDER_POSTGRES", dsn)
    async with connection(target()) as conn, conn.transaction():
        return await lists_in(conn, first)


async def month_of_releases(admin: Any) -> date:
    at: date = await admin.fetchval(
        "SELECT (min(at) AT TIME ZONE 'Asia/Shanghai')::date FROM customs.receipt WHERE status = '800' AND message_type = 'CEB604'"
    )
    return at.replace(day=1)


async def asked(first: date, lists: list[ReleasedList], *, write: bool = True) -> PreparedClaims:
    return await rebate._over_stack(first, bought(lists), trader(lists), BOOK, write=write)


async def test_what_customs_released_is_claimed_once_and_kept(
    database: str, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with played_in(database, keys) as cast:
        await exported(cast, ["exported", "exported", "released"])
        first = await month_of_releases(cast.world.admin)
        lists = await released(database, monkeypatch, first)
        assert len(lists) == 2
        assert all(entry.paid and not entry.came_back for entry in lists)
        early = await asked(first, lists)
        assert (early.claims, {out.reason for out in early.left_out}) == (
            (), {f"not yet claimable: the lists of {first:%Y-%m} are not asked to be consolidated yet"},
        )  # fmt: skip

        await month_ends(cast.world)
        waiting = await asked(first, lists)
        assert {re.sub("S[A-Z0-9]+", "S…", out.reason) for out in waiting.left_out} == {
            "not yet claimable: declaration without a number yet is generated, expected closed"
        }
        await passes(cast.world, 1, 1)

        assert (await asked(first, lists, write=False)).claims
        assert await cast.world.admin.fetchval("SELECT count(*) FROM tax.rebate_claim") == 0

        found = await asked(first, lists)
        (claim,) = found.claims
        numbers = await cast.world.admin.fetch("SELECT entry_id FROM customs.summary_declaration")
        assert claim.declarations == [row["entry_id"] for row in numbers]
        assert {line.declared.line for line in claim.lines} == {1, 2}
        assert claim.number == f"{claim.merchant}-{first:%Y%m}-001"
        again = await asked(first, lists)
        assert (again.claims, {number for _, number in again.already}) == ((), {claim.number})

        (kept,) = await rebate._list()
        assert (kept["number"], kept["refund"], kept["lines"]) == (
            claim.number,
            str(claim.refund),
            len(claim.lines),
        )
        total = await cast.world.admin.fetchval(
            "SELECT sum(refund_minor)::bigint FROM tax.rebate_line"
        )
        assert total == claim.refund.minor
        assert await cast.world.broken() == {}

        await cast.world.admin.execute("UPDATE tax.rebate_line SET refund_minor = refund_minor + 1")
        assert set(await cast.world.broken()) == {"rebate_claim_is_its_lines"}
        await cast.world.admin.execute("UPDATE tax.rebate_line SET refund_minor = refund_minor - 1")
        await cast.world.admin.execute(
            "UPDATE customs.declaration SET released = false WHERE direction = 'export'"
        )
        assert "rebate_is_of_a_release" in await cast.world.broken()
        await cast.world.admin.execute(
            "UPDATE customs.declaration SET released = true WHERE direction = 'export'"
        )
        await cast.world.admin.execute(
            "UPDATE customs.summary_declaration SET stage = 'declared', said = 'declared'"
        )
        assert "rebate_stands_on_a_closed_declaration" in await cast.world.broken()


async def test_two_who_ask_at_once_make_one_claim_and_the_table_refuses_a_second(
    database: str, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with played_in(database, keys) as cast:
        await exported(cast, ["exported", "exported"])
        await consolidated(cast)
        first = await month_of_releases(cast.world.admin)
        lists = await released(database, monkeypatch, first)
        found = await asyncio.gather(*(asked(first, lists) for _ in range(4)))
        (claim,) = [claim for prepared in found for claim in prepared.claims]

        async with connection(target(), write=True) as conn:
            with pytest.raises(asyncpg.UniqueViolationError):
                await rebate_store.save(conn, PreparedClaims((claim,), (), (), ()), BOOK.edition)


async def test_goods_that_come_back_are_left_out_or_to_be_repaid(
    database: str, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with played_in(database, keys) as cast:
        await exported(cast, ["export given back"])
        await consolidated(cast)
        first = await month_of_releases(cast.world.admin)
        lists = await released(database, monkeypatch, first)
        (claim,) = (await asked(first, lists)).claims
        await cast.ask(LATER)
        for seconds in (10.0, 3 * 86_400.0):
            await cast.world.settle_down()
            cast.world.clock.now += seconds
        await cast.world.settle_down()
        assert await cast.wrong() == {}

        back = await released(database, monkeypatch, first)
        assert [entry.came_back for entry in back] == [True]
        after = await asked(first, back)
        assert {number for _, number in after.to_repay} == {claim.number}
        assert (after.claims, after.already) == ((), ())


async def test_tax_may_add_to_claims_and_never_change_them(database: str) -> None:
    pool = await connect_pool(Settings(postgres=database), "tax", size=1)
    try:
        for table in ("rebate_claim", "rebate_line", "rebate_invoice"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await pool.execute(f"DELETE FROM {table}")
    finally:
        pool.terminate()
