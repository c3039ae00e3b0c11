"""The rules of a running service: archived with their edition, followed while it runs, and what was assessed by them."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
import structlog
from typer.testing import CliRunner, Result

from services.cli.app import app
from services.tax.app import TaxSettings, wire
from services.tax.deps import Deps
from services.tax.handlers import SUBSCRIPTIONS
from services.tax.rule_reload import RunningRules
from services.tax.rulebook.files import RULES
from services.tax.rulebook.toml_files import RuleError
from shared import inbox, metrics, topics
from shared.clock import BEIJING
from shared.database import connect_pool
from shared.envelope import Record, headers_of
from shared.handler import Handler
from shared.sealing import Sealing
from shared.settings import Settings
from tests.unit.tax.orders import CHERRIES, CREAM, TOY, WINE, Item, placed

NINE, TEN = 'rate = "0.09"', 'rate = "0.10"'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(RULES, tmp_path / "rules"))


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Any]:
    made = await connect_pool(Settings(postgres=database), "tax")
    yield made
    made.terminate()


def edit(folder: Path, old: str, new: str) -> None:
    path = folder / "tariff-cn.toml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


async def place(pool: Any, deps: Deps, sealing: Sealing, names: Sequence[str], first: int) -> None:
    """One order each: a cream, cherries and wine, and every third one too dear for several pieces."""
    handler = Handler("tax", topics.TAX, SUBSCRIPTIONS, pool, deps, sealing=sealing)
    records = []
    for offset, name in enumerate(names, first):
        toys = Item(TOY, "4000.00" if offset % 3 == 2 else "12.34", quantity="2")
        items = [
            Item(CREAM, "425.00", content="20 g"),
            Item(CHERRIES, "300.00"),
            Item(WINE, "999.99"),
            toys,
        ]
        order = placed(name, items, person=uuid4())
        headers = headers_of(
            event_id=uuid4(), event_type=order.type, source="test", at=datetime.now(UTC), version=1
        )
        records.append(
            Record(
                topics.ORDERS, 0, offset, 0, str(order.order_id).encode(), order.to_json(), headers
            )
        )
    async with pool.acquire() as conn:
        await inbox.known_offsets(conn, {(topics.ORDERS, 0): first})
    await handler.handle(records)


async def ask(database: str, *arguments: str) -> Result:
    env = {"CROSSBORDER_POSTGRES": database}
    return await asyncio.to_thread(CliRunner().invoke, app, ["tax", "rules", *arguments], env=env)


async def test_a_bad_set_is_refused_by_name_and_the_one_in_force_stays_until_a_good_one_comes(
    pool: Any, folder: Path
) -> None:
    running = RunningRules(folder, pool)
    deps = Deps(await running.begin())
    first = deps.rules
    edit(folder, NINE, 'rate = "-0.09"')
    await running.look(deps)
    assert deps.rules is first
    assert metrics.TAX_RULES_REFUSED._value.get() == 1
    edit(folder, 'rate = "-0.09"', TEN)
    await running.look(deps)
    assert deps.rules.edition != first.edition
    assert metrics.TAX_RULES_REFUSED._value.get() == 0
    edit(folder, "# Headings.", "# Headings, by HS prefix.")
    taken = deps.rules
    await running.look(deps)
    assert deps.rules is taken, "a comment is no other edition"
    async with pool.acquire() as conn:
        editions = {row["edition"] for row in await conn.fetch("SELECT edition FROM rule_set")}
    assert editions == {first.edition, taken.edition}


@pytest.mark.parametrize(
    ("name", "old", "new", "says"),
    [
        ("dest-gb.toml", 'at_most = "135.00"', 'at_most = "130.00"', "a gap from 130.00 to 135.00"),
        ("dest-gb.toml", 'kind = "destination"', 'kind = ["destination"]', "kind"),
        ("goods-us-electronics.toml", 'id = "us-electronics"', 'id = "us-ships"', "there is no list 'us-electronics'"),
        ("cn-export-routes.toml", "rank = 2", 'rank = "2"', "valid integer"),
        ("rates-cny.toml", 'kind = "exchange-rates"', "", "kind"),
        ("cbec-retail-2019.toml", "", None, "import by mode 1210, which cbec-retail-2019 had: is a file missing?"),
        ("parcel-tax-2024.toml", "", None, "import by mode personal, which parcel-tax-2024 had"),
        ("tariff-cn.toml", "", None, "there must be one tariff"),
        ("dest-eu.toml", "", "\x00", "not TOML"),
    ],
)  # fmt: skip
async def test_a_running_service_goes_on_by_its_rules_whatever_file_went_bad_or_got_lost(
    pool: Any, folder: Path, name: str, old: str, new: str | None, says: str
) -> None:
    running = RunningRules(folder, pool)
    deps = Deps(await running.begin())
    first, path = deps.rules, folder / name
    before = path.read_text(encoding="utf-8")
    assert old in before
    if new is None:
        path.unlink()
    else:
        path.write_text(before.replace(old, new, 1), encoding="utf-8")
    with structlog.testing.capture_logs() as logs:
        await running.look(deps)
        await running.look(deps)
    assert deps.rules is first
    assert metrics.TAX_RULES_REFUSED._value.get() == 1
    assert [says in str(log["error"]) for log in logs] == [True], "said once, by name"
    path.write_text(before, encoding="utf-8")
    await running.look(deps)
    assert (deps.rules.edition, metrics.TAX_RULES_REFUSED._value.get()) == (first.edition, 0)


async def test_rules_that_are_written_while_they_are_read_are_never_half_taken(
    pool: Any, folder: Path, tmp_path: Path
) -> None:
    """Two replicas look all the time while rates are imported month by month: each set they take is a whole one."""
    replicas = [RunningRules(folder, pool) for _ in range(2)]
    deps = [Deps(await running.begin()) for running in replicas]
    done = asyncio.Event()

    async def looks(running: RunningRules, held: Deps) -> int:
        refused = 0
        while not done.is_set():
            await running.look(held)
            refused += int(metrics.TAX_RULES_REFUSED._value.get())
            await asyncio.sleep(0)
        await running.look(held)
        return refused

    looking = [
        asyncio.create_task(looks(running, held))
        for running, held in zip(replicas, deps, strict=True)
    ]
    bank = tmp_path / "eurofxref.csv"
    for day in ("18 November 2026", "16 December 2026", "20 January 2027"):
        bank.write_text(f"Date, USD, CNY, \n{day}, 1.16, 7.75, \n", encoding="utf-8")
        found = await asyncio.to_thread(
            CliRunner().invoke, app, ["tax", "rates", "import", str(bank), "--rules", str(folder)]
        )
        assert found.exit_code == 0, found.output
    done.set()
    assert await asyncio.gather(*looking) == [0, 0]
    assert {held.rules.exchange.rate("USD", date(2027, 2, 28)).rule for held in deps} == {
        "rates-cny/USD/2027-02-01"
    }
    assert [name for name in os.listdir(folder) if not name.endswith(".toml")] == []  # noqa: PTH208


def last_days() -> dict[str, date]:
    """What the gauge says of each table, as the day before the moment at which it is over in Beijing."""
    found = {}
    for sample in next(iter(metrics.TAX_RULES_LAST_DAY.collect())).samples:
        over = datetime.fromtimestamp(sample.value, BEIJING)
        assert (over.hour, over.minute) == (0, 0)
        found[sample.labels["table"]] = over.date() - timedelta(days=1)
    return found


async def test_the_last_day_of_each_table_is_shown_and_follows_an_import(
    pool: Any, folder: Path, tmp_path: Path
) -> None:
    running = RunningRules(folder, pool)
    deps = Deps(await running.begin())
    assert last_days() == {
        "rates-cny": date(2026, 12, 31),
        "dest-eu": date(2028, 6, 30),
        "dest-gb": date(2029, 3, 31),
    }
    bank = tmp_path / "eurofxref.csv"
    bank.write_text(
        "Date, USD, CNY, \n16 December 2026, 1.16, 7.25, \n18 November 2026, 1.16, 7.25, \n",
        encoding="utf-8",
    )
    imported = await asyncio.to_thread(
        CliRunner().invoke, app, ["tax", "rates", "import", str(bank), "--rules", str(folder)]
    )
    assert imported.exit_code == 0, imported.output
    (folder / "dest-gb.toml").unlink()
    first = deps.rules.edition
    await running.look(deps)
    assert deps.rules.edition != first
    assert last_days() == {"rates-cny": date(2027, 1, 31), "dest-eu": date(2028, 6, 30)}
    async with pool.acquire() as conn:
        kept = await conn.fetchval(
            "SELECT files FROM rule_set WHERE edition = $1", deps.rules.edition
        )
    assert "dest-eu.toml" in kept


async def test_a_service_as_it_is_wired_takes_a_new_set_while_it_runs(
    pool: Any, folder: Path, database: str, keys: Path
) -> None:
    settings = TaxSettings(
        kafka="none:9092", postgres=database, keys=keys, rules_dir=folder, rules_every_s=0.02
    )
    wiring = await wire(settings, pool)
    first = wiring.deps.rules.edition
    try:
        edit(folder, NINE, TEN)
        for _ in range(1000):
            if wiring.deps.rules.edition != first:
                break
            await asyncio.sleep(0.02)
    finally:
        for close in wiring.closing:
            await close()
    vat = [row.rate for row in wiring.deps.rules.tariff.vat if row.class_ == "agricultural"]
    assert str(vat[-1]) == "0.10"


async def test_a_service_does_not_begin_with_a_bad_set(pool: Any, folder: Path) -> None:
    edit(folder, NINE, 'rate = "-0.09"')
    with pytest.raises(RuleError, match=r"tariff-cn\.toml:\d+: .*rate"):
        await RunningRules(folder, pool).begin()


async def test_assessments_come_out_again_by_their_own_edition_whatever_was_published_since(
    pool: Any, folder: Path, sealing: Sealing, database: str
) -> None:
    running = RunningRules(folder, pool)
    deps = Deps(await running.begin())
    await place(pool, deps, sealing, ["A", "B", "C"], 0)
    edit(folder, NINE, TEN)
    await running.look(deps)
    await place(pool, deps, sealing, ["D", "E", "F"], 3)
    again = await ask(database, "recheck", "--json")
    assert json.loads(again.stdout) == {"checked": 6, "differ": []}

    listed = json.loads((await ask(database, "archive", "--json")).stdout)
    assert [row["edition"] for row in listed][-1] == deps.rules.edition
    kept = folder.with_name("kept")
    assert (await ask(database, "archive", listed[0]["edition"], "--to", str(kept))).exit_code == 0
    found = json.loads(
        (await ask(database, "what-if", str(folder), "--against", str(kept), "--json")).stdout
    )
    # Cherries of 300 at 10 instead of 9 %, of which 70 % are levied; the two dear orders are refused by either set.
    assert found["more"] == {
        "orders": 4,
        "before": found["more"]["before"],
        "after": found["more"]["after"],
    }
    assert float(found["more"]["after"]) - float(found["more"]["before"]) == pytest.approx(4 * 2.10)
    assert found["same"]["orders"] == 2
    assert found["new"] == deps.rules.edition


async def test_an_assessment_that_does_not_come_out_again_is_named(
    pool: Any, folder: Path, sealing: Sealing, database: str
) -> None:
    deps = Deps(await RunningRules(folder, pool).begin())
    await place(pool, deps, sealing, ["A"], 0)
    conn = await asyncpg.connect(database)
    order_id = await conn.fetchval(
        "UPDATE tax.tax_case SET assessed_from = jsonb_set(assessed_from, '{lines,1,3}', '\"301.00\"') RETURNING order_id"
    )
    await conn.close()
    found = await ask(database, "recheck")
    assert (found.exit_code, found.stdout.split()) == (1, [str(order_id)])


async def test_nothing_of_a_person_is_in_what_was_assessed_from(
    pool: Any, folder: Path, sealing: Sealing, database: str
) -> None:
    deps = Deps(await RunningRules(folder, pool).begin())
    await place(pool, deps, sealing, ["A"], 0)
    async with pool.acquire() as conn:
        found = json.loads(await conn.fetchval("SELECT assessed_from::text FROM tax_case"))
    assert set(found) <= {
        "edition",
        "on",
        "used",
        "direction",
        "mode",
        "currency",
        "lines",
        "freight",
        "insurance",
        "discount",
        "sent_from",
    }
