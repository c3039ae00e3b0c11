"""What the demo plays, and what it holds each order against."""

from __future__ import annotations

import orjson
import pytest

from deploy.samples import KINDS
from services.cli import samples
from services.cli.connect import UsageError
from services.cli.demo.playback import wrong_of
from shared.events.orders import OrderPartlyReturned


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


def test_an_unknown_sample_is_named() -> None:
    with pytest.raises(UsageError, match="unknown sample 'bananas'"):
        samples.samples("bananas", 1, 1)


def test_the_rest_is_asked_back_once_the_first_part_is_closed_however_long_that_takes() -> None:
    steps = [s for s in samples.of_demo(1, seed=1).steps if s.order_no == _in_parts()]
    (rest,) = [s for s in steps if s.once is not None]
    assert not rest.is_timed
    assert not rest.is_due(3600.0, "fulfilled", {"return.requested.v1"})
    assert rest.is_due(0.1, "fulfilled", {"return.requested.v1", OrderPartlyReturned.type})


def test_a_step_waits_for_its_moment_or_for_its_order() -> None:
    play = samples.of_demo(1, seed=1)
    (first,) = [s for s in play.steps if s.order_no == _in_parts() and s.is_timed]
    assert first.is_due(0.0, None, ())
    (part,) = [s for s in play.steps if s.order_no == _in_parts() and s.when]
    assert not part.is_due(3600.0, "released", ())
    assert part.is_due(0.0, "fulfilled", ())


def _in_parts() -> str:
    (order_no,) = [
        c.order_no for c in samples.of_demo(1, seed=1).casts if c.kind == "returned_in_two_parts"
    ]
    return order_no
