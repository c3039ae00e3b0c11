"""Synthetic orders keep every rule, collide with nobody, and are counted as no sale."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from deploy.samples.generate import resident_id
from deploy.synthetic_order import NOBODY, make_submission
from services.orders.domain import sales
from services.orders.intake.decoding import read_submission
from services.orders.intake.placed_order import PROBE, corridor_of
from services.orders.intake.submission import Submitted
from services.orders.intake.validation import validate
from shared import metrics
from shared.clock import BEIJING
from shared.settings import Settings

PLATFORM = Settings.model_fields["probe_platform"].default
AT = datetime(2026, 11, 24, 10, 0, tzinfo=BEIJING)
YEARLY_LIMIT = Decimal(26_000)


def read(made: dict[str, Any]) -> Submitted:
    (found,) = read_submission(json.dumps(made).encode(), ())
    assert isinstance(found, Submitted)
    return found


@pytest.mark.parametrize("number", range(24))
def test_a_synthetic_order_keeps_every_rule_and_names_its_own_id(number: int) -> None:
    made, order_id, partition = make_submission(PLATFORM, AT, 12, number)
    found = read(made)
    assert validate(found, AT) == ()
    assert found.order_id == order_id
    assert partition == number % 12
    assert corridor_of(found, PLATFORM) == PROBE == metrics.PROBE
    assert corridor_of(found) != PROBE


def test_no_two_have_one_number_even_in_one_second() -> None:
    made = [make_submission(PLATFORM, AT, 12, 0)[0]["order_no"] for _ in range(200)]
    assert len(set(made)) == 200


@pytest.mark.parametrize("every_s", [1, 60])
def test_its_buyers_are_nobody_and_none_comes_near_the_yearly_limit_in_a_year_s_share(
    every_s: int,
) -> None:
    """A buyer comes again only after 364,635 others; what two probers let one buy must fit."""
    bought: Counter[str] = Counter()
    for number in range(2000):
        at = AT + timedelta(seconds=number * every_s)
        made, _, _ = make_submission(PLATFORM, at, 12, number, every_s)
        if made["direction"] == "import":
            assert made["buyer"]["id_number"].startswith(NOBODY[0])
            assert made["payment"]["payer"]["id_number"] == made["buyer"]["id_number"]
            bought[made["buyer"]["id_number"]] += (
                int(Decimal(made["goods_value"]) + Decimal(made["freight"])) + 1
            )
    assert len(bought) >= 2000 // 60
    assert 2 * max(bought.values()) < YEARLY_LIMIT
    assert resident_id(0, NOBODY) != resident_id(364_634, NOBODY)


@pytest.mark.parametrize(
    "wire_type", [b"order.placed.v1", b"order.fulfilled.v1", b"order.rejected.v1"]
)
def test_a_synthetic_order_counts_in_no_window(wire_type: bytes) -> None:
    money = {"amount": "1.00", "currency": "CNY"}
    fact = {"corridor": "US-CN", "currency": "CNY", "goods_value": money, "amount_paid": money}
    assert sales.parse(wire_type, json.dumps(fact).encode()) is not None
    assert sales.parse(wire_type, json.dumps(fact | {"corridor": PROBE}).encode()) is None
