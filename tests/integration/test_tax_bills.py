"""Tax bills through customs, tax, payments and the bank, on the real tables: every word, every case, the deposit at its end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from deploy.samples import submission
from sandbox.authority.receipts import Receipt, messages_of, new_guid, return_time
from services.cli.connect import UsageError
from services.cli.demo.playback import bills_of
from services.cli.tax import cases as tax_cases
from services.cli.verify.cross_service_invariants import BETWEEN
from services.payments.customs_debt.deposit_policy import DepositPolicy
from services.payments.deps import Deps
from shared import topics
from shared.money import Money
from tests.integration.test_reactions import RETURN, SUBMITTED, shop_record
from tests.integration.world import World, opened

DAY = 86_400.0


@pytest.fixture
async def world(database: str, keys: Path) -> AsyncIterator[World]:
    async with opened(database, keys) as made:
        yield made


async def placed(
    world: World, marker: str = "", number: int = 1, sample: str = "cream", **changed: Any
) -> str:
    """An order on its way to its release; returns its number."""
    at = datetime.now(UTC) - timedelta(hours=2)
    made = (
        submission(sample, number, seed=7, marker=marker, prefix="BILL", at=at, person=number)
        | changed
    )
    world.publish(topics.SUBMISSIONS, [shop_record(made["order_no"], made, SUBMITTED)])
    await world.settle_down()
    return str(made["order_no"])


async def days_pass(world: World, *days: int) -> None:
    for many in days:
        world.clock.now += many * DAY
        await world.settle_down()


async def bill_of(world: World, order_no: str) -> tuple[Any, ...]:
    """How tax and payments have the bill, and why a person must look at it."""
    row = await world.admin.fetchrow(
        "SELECT b.state, d.state AS paid, d.outcome, array_remove(array_agg(k.reason ORDER BY k.reason), NULL) AS cases "
        "FROM orders.orders o LEFT JOIN tax.tax_bill b USING (order_id) LEFT JOIN payments.tax_due d USING (order_id) "
        "LEFT JOIN tax.bill_case k ON k.order_id = o.order_id AND k.closed_at IS NULL WHERE o.order_no = $1 "
        "GROUP BY b.state, d.state, d.outcome",
        order_no,
    )
    return row["state"], row["paid"], row["outcome"], row["cases"]


async def balances(world: World) -> dict[str, int]:
    rows = await world.admin.fetch(
        "SELECT account, sum(minor)::bigint AS minor FROM payments.balance GROUP BY account"
    )
    return {row["account"]: row["minor"] for row in rows if row["minor"]}


async def in_order(world: World) -> None:
    assert await world.broken() == {}
    for invariant in BETWEEN:
        assert [tuple(row) for row in await world.admin.fetch(invariant.sql)] == [], invariant.name


@pytest.mark.parametrize(
    ("marker", "end"),
    [
        ("", ("due", "paid", "exact", [])), ("billhigh", ("due", "paid", "booked", [])), ("billlow", ("due", "paid", "refund", [])),
        ("billfar", ("disputed", None, None, ["far_off"])), ("nobill", (None, None, None, ["missing"])),
        ("latebill", ("due", "paid", "exact", [])), ("dupbill", ("due", "paid", "exact", [])),
        ("contrabill", ("due", "paid", "exact", ["contradicted"])),
    ],
)  # fmt: skip
async def test_every_word_of_the_authority_has_its_end(
    world: World, marker: str, end: tuple[Any, ...]
) -> None:
    order_no = await placed(world, marker)
    await days_pass(world, 1, 30, 3, 6)
    assert await bill_of(world, order_no) == end
    # As the demo tells it, which rehearses some of the words.
    told = f"a person: {end[3][0]}" if end[3] else f"{end[1]}, {end[2]}"
    assert await bills_of(world.admin) == {order_no: told}
    await in_order(world)


async def test_nothing_is_paid_before_the_33rd_day_and_a_book_is_paid_by_one_transfer(
    world: World,
) -> None:
    for number in range(1, 4):
        await placed(world, number=number, sample="cherries")
    await days_pass(world, 1, 30, 1)
    assert (
        await world.admin.fetchval("SELECT count(*) FROM tax.tax_bill WHERE state = 'consolidated'")
        == 3
    )
    assert await world.admin.fetchval("SELECT count(*) FROM payments.tax_payment") == 0
    await days_pass(world, 1)
    (payment,) = await world.admin.fetch(
        "SELECT bills, amount_minor, transfer_no FROM payments.tax_payment"
    )
    moved = world.bank.file.db.execute(
        "SELECT sum(minor), count(*) FROM movement WHERE kind = 'transfer'"
    ).fetchone()
    assert (payment["bills"], payment["amount_minor"]) == (3, moved[0])
    assert moved[1] == 1
    assert (await balances(world)).get("tax_payable", 0) == 0
    await in_order(world)


@pytest.mark.parametrize("returned", [False, True])
async def test_parcel_tax_that_is_waived_is_owed_by_nobody(
    world: World, returned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tax of a small parcel of 2015, 10.60 of 106.00, is not levied: no bill is missed and the books owe nothing."""
    # It came on the day it was placed; the clocks of this test are today's.
    monkeypatch.setattr(
        "services.orders.intake.placed_order.taxed_at", lambda placed_at, _came_at: placed_at
    )
    order_no = await placed(
        world,
        "nobill",
        sample="cherries",
        placed_at="2015-06-01T09:00:00+08:00",
        tax_withheld="0.00",
        amount_paid="106.00",
    )
    case = await world.admin.fetchrow(
        "SELECT regime, state, total_minor, assessment #>> '{total,amount}' AS total FROM tax.tax_case"
    )
    assert tuple(case) == ("parcel-tax-2012", "posted", 0, "10.60")
    if returned:
        await given_back(world, order_no)
        assert await world.admin.fetchval("SELECT state FROM tax.tax_case") == "restored"
    await days_pass(world, 1, 30, 3, 6)
    assert await bill_of(world, order_no) == (None, None, None, [])
    assert (await balances(world)).get("tax_payable", 0) == 0
    await in_order(world)


@pytest.mark.parametrize(
    ("withheld", "account", "minor"),
    [("-5.00", "merchant_claim", 500), ("-0.40", "tax_difference", 40)],
)
async def test_what_the_shop_withheld_too_little(
    world: World, withheld: str, account: str, minor: int
) -> None:
    made = submission("cream", 1, seed=7)
    less = Money.of(made["tax_withheld"], "CNY") + Money.of(withheld, "CNY")
    paid = Money.of(made["amount_paid"], "CNY") + Money.of(withheld, "CNY")
    order_no = await placed(world, tax_withheld=str(less), amount_paid=str(paid))
    await days_pass(world, 1, 33)
    assert (await bill_of(world, order_no))[:2] == ("due", "paid")
    assert (await balances(world))[account] == minor
    await in_order(world)


async def test_a_partial_refund_reaches_the_buyer_and_a_later_return_gives_back_the_rest(
    world: World,
) -> None:
    order_no = await placed(world, "billlow")
    await days_pass(world, 1)
    payment = await world.admin.fetchrow("SELECT * FROM payments.payment")
    refunded = world.bank.file.db.execute(
        "SELECT sum(minor) FROM movement WHERE kind = 'refund'"
    ).fetchone()[0]
    assert payment["excess_minor"] == refunded > 0
    asked = {
        "platform": {"code": "1105910159"},
        "order_no": order_no,
        "reason": "the buyer changed their mind",
    }
    world.publish(topics.SUBMISSIONS, [shop_record(order_no, asked, RETURN)])
    await world.settle_down()
    world.clock.now += 10  # the goods are on their way
    await world.settle_down()
    refunded = world.bank.file.db.execute(
        "SELECT sum(minor) FROM movement WHERE kind = 'refund'"
    ).fetchone()[0]
    assert refunded == payment["captured_minor"]
    held = {
        name: minor
        for name, minor in (await balances(world)).items()
        if name not in ("guarantee_free", "own_funds")
    }
    assert held == {}
    await days_pass(world, 31)
    assert (await bill_of(world, order_no))[:2] == ("returned", "restored")
    await in_order(world)


async def given_back(world: World, order_no: str, *lines: int) -> None:
    """Asked for, granted, and back after a journey; all that is left where no line is named."""
    asked: dict[str, Any] = {
        "platform": {"code": "1105910159"},
        "order_no": order_no,
        "reason": "the buyer changed their mind",
    }
    if lines:
        asked["lines"] = [{"line_no": line} for line in lines]
    world.publish(topics.SUBMISSIONS, [shop_record(order_no, asked, RETURN)])
    await world.settle_down()
    world.clock.now += 10
    await world.settle_down()


async def money_of(world: World) -> dict[str, int]:
    """What the one order of the world owes, was billed, and cost whom, in fen."""
    row = await world.admin.fetchrow(
        "SELECT p.tax_withheld_minor AS withheld, c.total_minor AS owed, coalesce(d.billed_minor, 0) AS billed, "
        "p.excess_minor AS excess, (SELECT coalesce(sum(amount_minor), 0)::bigint FROM payments.journal "
        "WHERE purpose = 'unsettle_tax' AND seq = 0) AS tax_back FROM payments.payment p JOIN tax.tax_case c USING (order_id) "
        "LEFT JOIN payments.tax_due d USING (order_id)"
    )
    held = await balances(world)
    kept = ("tax_payable", "tax_suspense", "tax_difference", "merchant_claim", "guarantee_reserved")
    return dict(row) | {account: held.get(account, 0) for account in kept}


@pytest.mark.parametrize("marker", ["", "billhigh", "billlow", "dupbill", "latebill"])
@pytest.mark.parametrize("days", [0, 2, 20])
async def test_of_goods_that_came_back_in_part_customs_bills_and_is_paid_what_is_left(
    world: World, marker: str, days: int
) -> None:
    order_no = await placed(world, marker, sample="basket")
    await days_pass(world, *([days] if days else []))
    owed_at_first = (await money_of(world))["owed"]
    await given_back(world, order_no, 2)
    await in_order(world)
    assert 0 < (await money_of(world))["owed"] < owed_at_first
    await days_pass(world, 1, 36 - days)
    state = await bill_of(world, order_no)
    corrected = days and marker != "latebill"
    numbers = await world.admin.fetch(
        "SELECT tax_no, superseded FROM customs.tax_bill ORDER BY tax_no"
    )
    assert [row["superseded"] for row in numbers] == ([True, False] if corrected else [False])
    assert (state[:2], state[3]) == (("due", "paid"), [])
    found = await money_of(world)
    left = found["withheld"] - found["tax_back"] - found["excess"]
    assert (
        found["tax_payable"]
        == found["tax_suspense"]
        == found["guarantee_reserved"]
        == found["merchant_claim"]
        == 0
    )
    assert found["tax_difference"] == found["billed"] - left
    assert abs(found["tax_difference"]) <= 50
    if marker == "billlow":
        assert found["excess"] > 50, (
            "what customs billed too little of the rest goes back by itself"
        )
        assert found["billed"] < found["owed"]
    else:
        assert abs(found["billed"] - found["owed"]) <= 33
    paid = world.bank.file.db.execute(
        "SELECT sum(minor) FROM movement WHERE kind = 'transfer'"
    ).fetchone()[0]
    assert paid == found["billed"]
    await in_order(world)


async def test_line_after_line_comes_back_and_nothing_is_owed_at_last(world: World) -> None:
    order_no = await placed(world, "billlow", sample="basket")
    await given_back(world, order_no, 2)
    await days_pass(world, 1)
    assert (await money_of(world))["excess"] > 0
    await given_back(world, order_no, 1)
    await in_order(world)
    assert (await bill_of(world, order_no))[1:3] == ("settled", "exact") or abs(
        (await balances(world)).get("tax_difference", 0)
    ) <= 50
    await given_back(world, order_no)
    held = {
        name: minor
        for name, minor in (await balances(world)).items()
        if name not in ("guarantee_free", "own_funds")
    }
    assert held == {}
    await days_pass(world, 36)
    assert (await bill_of(world, order_no)) == (
        "returned",
        "restored",
        (await bill_of(world, order_no))[2],
        [],
    )
    await in_order(world)


async def test_goods_back_in_part_after_the_bill_was_paid_are_a_persons_case_and_the_merchant_bears_the_tax(
    world: World,
) -> None:
    order_no = await placed(world, sample="basket")
    # Applied for within 30 days; the goods are back after the bill was paid and before the 45th day is over.
    await days_pass(world, 1, 28)
    asked = {
        "platform": {"code": "1105910159"},
        "order_no": order_no,
        "reason": "changed their mind",
        "lines": [{"line_no": 2}],
    }
    world.authority._requests._policy = replace(world.authority._requests._policy, pace=10 * DAY)
    world.publish(topics.SUBMISSIONS, [shop_record(order_no, asked, RETURN)])
    await world.settle_down()
    await days_pass(world, 3, 3)
    assert (await bill_of(world, order_no))[:2] == ("due", "paid")
    await in_order(world)
    await days_pass(world, 6)
    assert (await bill_of(world, order_no))[3] == ["uncorrected"]
    found = await money_of(world)
    assert found["merchant_claim"] == found["tax_back"] > 50
    assert found["tax_suspense"] == found["tax_payable"] == 0
    await in_order(world)


async def test_a_bill_that_customs_does_not_correct_is_paid_and_a_person_claims_the_tax_back(
    world: World,
) -> None:
    order_no = await placed(world, "uncorrected", sample="basket")
    await days_pass(world, 1)
    await given_back(world, order_no, 2)
    found = await money_of(world)
    assert found["merchant_claim"] == found["tax_back"] > 50
    await days_pass(world, 36)
    assert await bill_of(world, order_no) == ("due", "paid", "exact", ["uncorrected"])
    assert (await money_of(world))["tax_suspense"] == 0
    await in_order(world)


@pytest.mark.parametrize(
    ("verdict", "account"), [("accept", "merchant_claim"), ("bear", "tax_difference")]
)
async def test_a_person_decides_a_bill_that_is_far_off(
    world: World, database: str, monkeypatch: pytest.MonkeyPatch, verdict: str, account: str
) -> None:
    order_no = await placed(world, "billfar")
    await days_pass(world, 1, 31)
    assert (await bill_of(world, order_no))[0] == "disputed"
    monkeypatch.setenv("CROSSBORDER_POSTGRES", database)
    (case,) = await tax_cases._list(everything=False)
    assert (case["order_no"], case["reason"], case["verdict"]) == (order_no, "far_off", None)
    with pytest.raises(UsageError, match="accept or bear"):
        await tax_cases._settle(order_no, "close", "looked at", None)
    assert await tax_cases._settle(order_no, verdict, "looked at", None) == "decided"
    assert await tax_cases._settle(order_no, verdict, "looked at", None) == "already decided:"
    await days_pass(world, 2)
    assert await tax_cases._settle(order_no, verdict, "looked at", None) == "no open case of"
    assert (await bill_of(world, order_no))[:2] == ("due", "paid")
    assert (await balances(world))[account] > 10_000
    await in_order(world)


async def test_the_deposit_is_never_overdrawn_and_covers_the_oldest_first(world: World) -> None:
    start = datetime(2015, 1, 1, tzinfo=UTC).date()
    world.deps["payments"] = Deps(DepositPolicy(((start, Money.of("3.00", "CNY")),)))
    for number in range(1, 4):
        await placed(world, number=number, sample="cherries")
    assert await world.admin.fetchval("SELECT count(*) FROM payments.uncovered") == 3
    first = await world.admin.fetchval(
        "SELECT amount_minor FROM payments.uncovered ORDER BY id LIMIT 1"
    )
    world.deps["payments"] = Deps(DepositPolicy(((start, Money(first + 1, "CNY")),)))
    await world.settle_down()
    guarantee = await world.admin.fetchrow(
        "SELECT amount_minor, reserved_minor FROM payments.guarantee"
    )
    assert tuple(guarantee) == (first + 1, first)
    assert await world.admin.fetchval("SELECT count(*) FROM payments.uncovered") == 2
    # A deposit is not lowered below what is reserved.
    world.deps["payments"] = Deps(DepositPolicy(((start, Money.of("1.00", "CNY")),)))
    await world.settle_down()
    assert await world.admin.fetchval("SELECT amount_minor FROM payments.guarantee") == first
    await days_pass(world, 1, 33)
    assert await world.admin.fetchval("SELECT count(*) FROM payments.uncovered") == 0
    assert await world.admin.fetchval("SELECT reserved_minor FROM payments.guarantee") == 0
    await in_order(world)


async def test_a_consolidation_that_overtakes_its_bill_waits_for_it(world: World) -> None:
    order_no = await placed(world, "nobill")
    invt_no = await world.admin.fetchval("SELECT invt_no FROM customs.declaration")
    now = world.clock.now
    status = (
        f"<Tax><TaxHeadStatus><guid>{new_guid()}</guid><returnTime>{return_time(now)}</returnTime><invtNo>{invt_no}</invtNo>"
        f"<taxNo>{invt_no}_0</taxNo><status>2</status><entDutyNo>BOOK1</entDutyNo></TaxHeadStatus></Tax>"
    )
    bill = (
        f"<Tax><TaxHeadRd><guid>{new_guid()}</guid><returnTime>{return_time(now)}</returnTime><invtNo>{invt_no}</invtNo>"
        f"<taxNo>{invt_no}_0</taxNo><customsTax>0</customsTax><valueAddedTax>98.00</valueAddedTax><consumptionTax>0</consumptionTax>"
        "<status>1</status></TaxHeadRd><TaxListRd><gnum>1</gnum><gcode>3304990029</gcode><taxPrice>425</taxPrice><customsTax>0</customsTax>"
        "<valueAddedTax>98.00</valueAddedTax><consumptionTax>0</consumptionTax></TaxListRd></Tax>"
    )
    for code, xml in (("818", status), ("816", bill), ("818", status)):
        world.publish(
            topics.RECEIPTS,
            messages_of(topics.RECEIPTS, [Receipt(code, new_guid(), 1, "", "", xml)], now),
        )
        await world.settle_down()
        state = (await bill_of(world, order_no))[0]
        assert (state is None) == (
            code == "818"
            and await world.admin.fetchval("SELECT duty_minor FROM customs.tax_bill") is None
        )
    assert state in ("consolidated", "disputed")
    await in_order(world)


async def test_each_correction_of_a_bill_is_a_fact_of_its_own(world: World) -> None:
    order_no = await placed(world, sample="basket")
    await days_pass(world, 2)
    for line in (2, 1):
        await given_back(world, order_no, line)
        await days_pass(world, 2)
    ids = [dict(record.headers)["ce_id"] for record in world.log[topics.CUSTOMS]]
    assert len(ids) == len(set(ids))
    newest = await world.admin.fetchrow(
        "SELECT tax_no FROM customs.tax_bill WHERE billed_said AND NOT superseded"
    )
    for table in ("tax.tax_bill", "payments.tax_due"):
        row = await world.admin.fetchrow(f"SELECT tax_no, billed_minor FROM {table}")
        owed = await world.admin.fetchval("SELECT total_minor FROM tax.tax_case")
        assert (row["tax_no"], row["billed_minor"]) == (newest["tax_no"], owed)
    await days_pass(world, 33)
    assert (await bill_of(world, order_no))[:2] == ("due", "paid")
    await in_order(world)
