"""The bench looks seldom while much is left, and often at the end."""

from services.cli.bench import LOOK_MAX_S, LOOK_MIN_S, _until_next_look


def test_looks_are_few_on_the_way_and_close_at_the_end() -> None:
    pace, of = 400.0, 20_000
    looks, elapsed = 0, 0.0
    last = 0.0
    while elapsed < of / pace:
        last = _until_next_look(elapsed, min(of, int(elapsed * pace)), of)
        elapsed += last
        looks += 1
    assert looks < of / pace / 2  # each reads the whole table, so it takes from what it measures
    assert last == LOOK_MIN_S  # so late is the end seen at most


def test_nothing_at_its_end_yet_is_looked_at_ever_later_to_a_bound() -> None:
    assert _until_next_look(0.0, 0, 10) == LOOK_MIN_S
    assert _until_next_look(3.0, 0, 10) == 1.0
    assert _until_next_look(600.0, 0, 10) == LOOK_MAX_S
