"""Tax is never what holds an order up."""

from __future__ import annotations

from time import process_time

from services.tax.domain.assessment import assess
from tests.unit.tax.orders import BAG, CHERRIES, CREAM, RULES, TODAY, TOY, WINE, Item, cny, order

FLOOR_PER_SECOND = 5_000
"""A quarter of the aim, so that a busy machine does not fail it; a run alone shows over 40,000."""


def test_five_line_orders_are_assessed_fast_enough() -> None:
    goods = (CHERRIES, TOY, WINE, BAG)
    what = order(*[Item(hs, "172.00") for hs in goods], Item(CREAM, "172.00", content="50 ml"), freight="20.00")
    used, count = cny("1000.00"), 5_000
    began = process_time()
    for _ in range(count):
        assess(what, TODAY, used, RULES)
    assert count / (process_time() - began) >= FLOOR_PER_SECOND
