"""What the demo plays, and what it holds each order against."""

from __future__ import annotations

import orjson
import pytest

from deploy.samples import KINDS
from services.cli import samples
from services.cli.connect import Wrong
from services.cli.demo import wrong_of


def test_the_demo_has_orders_of_every_kind_and_as_many_as_asked_for() -> None:
    play = samples.of_demo(300, seed=1)
    assert len(play.casts) >= 300
    assert {c.kind for c in play.casts} == set(KINDS)
    assert len({c.order_no for c in play.casts}) == len(play.casts)


def test_the_demo_is_wrong_as_long_as_nothing_came() -> None:
    play = samples.of_demo(1, seed=1)
    assert set(wrong_of(play, {})) == set(play.casts)


def test_of_a_yearly_limit_any_order_may_be_refused_but_only_one() -> None:
    play = samples.of_demo(1, seed=1)
    ends = {c.order_no: c.expected[0] for c in play.casts}
    bags = [c for c in play.casts if c.kind == "yearly_limit"]
    assert set(wrong_of(play, ends)) == set(bags)
    assert wrong_of(play, ends | {bags[2].order_no: "rejected"}) == []


def test_the_same_seed_makes_the_same_orders_and_none_makes_others() -> None:
    def numbers(seed: int | None) -> list[str]:
        return [r.order_no for r in samples.samples(None, 3, seed)]

    assert numbers(5) == numbers(5)
    assert numbers(None) != numbers(None)


def test_plain_samples_name_their_order() -> None:
    (record,) = samples.samples("cherries", 1, 7)
    assert orjson.loads(record.value)["order_no"] == record.order_no
    assert record.key == record.order_no.encode()


def test_a_kind_comes_with_all_its_records_in_their_time() -> None:
    records = samples.samples("cancelled_before_order", 1, 7)
    assert [r.after_s for r in records] == [0.0, 0.5]


def test_a_sample_that_is_none_names_all() -> None:
    with pytest.raises(Wrong, match=r"cherries.*released"):
        samples.samples("bananas", 1, 1)
