"""Which dead letters are meant, and what their replay carries."""

from __future__ import annotations

from dataclasses import replace

import pytest
from typer.testing import CliRunner

from services.cli.connect import UsageError
from services.cli.dlq import app as dlq
from services.cli.dlq.letters import DeadLetter, select
from services.cli.dlq.replay import STAYS, WENT, ReplayResult
from shared.dead_letters import dead_letter
from shared.envelope import Record
from shared.errors import Unprocessable
from shared.topics import MESSAGE_BYTES_MAX


def letter(offset: int, reason: str = "malformed") -> DeadLetter:
    record = Record(
        "orders.events",
        3,
        40 + offset,
        1_000,
        b"key",
        b"bytes",
        (("ce_id", b"1"), ("ce_type", b"x"), ("dlq_replay", b"old")),
    )
    made = dead_letter("customs", record, Unprocessable(reason, "what to mend"))  # type: ignore[arg-type]
    return DeadLetter(Record(made.topic, 3, offset, 2_000, made.key, made.value, made.headers))


def test_a_replay_carries_the_original_headers_and_which_dead_letter_of_which_record_it_was() -> (
    None
):
    again = letter(7).again()
    assert again == [
        ("ce_id", b"1"), ("ce_type", b"x"), ("dlq_replay", b"orders.events.dead-letters/3/7"), ("dlq_origin", b"orders.events/3/47"),
    ]  # fmt: skip


def test_the_summary_tells_where_it_came_from_and_not_its_bytes() -> None:
    found = letter(7).summary()
    assert found["id"] == "orders.events.dead-letters/3/7"
    assert found["origin"] == "orders.events/3/47"
    assert (found["service"], found["reason"], found["error"]) == (
        "customs",
        "malformed",
        "what to mend",
    )
    assert "bytes" not in str({k: v for k, v in found.items() if k != "bytes"})


def test_letters_are_chosen_by_id_reason_or_all() -> None:
    letters = [letter(1), letter(2, "integrity"), letter(3)]
    assert select(letters, ["orders.events.dead-letters/3/2"], None, everything=False) == [
        letters[1]
    ]
    assert select(letters, [], "malformed", everything=False) == [letters[0], letters[2]]
    assert select(letters, [], None, everything=True) == letters


def test_an_unknown_id_or_no_choice_is_refused() -> None:
    with pytest.raises(UsageError, match="there is no dead letter nowhere/0/0"):
        select([letter(1)], ["nowhere/0/0"], None, everything=False)
    with pytest.raises(UsageError, match="--all"):
        select([letter(1)], [], None, everything=False)


def large(value: bytes) -> DeadLetter:
    record = Record("orders.submissions", 3, 47, 1_000, b"key", value, (("ce_id", b"1"),))
    made = dead_letter("orders", record, Unprocessable("too_large", "what to mend"))
    return DeadLetter(Record(made.topic, 3, 7, 2_000, made.key, made.value, made.headers))


def test_a_dead_letter_that_was_cut_is_not_replayed_and_says_where_the_original_lies() -> None:
    found = large(b"x" * 10_000_000)
    assert (found.is_cut, found.may_go(), found.summary()["bytes"]) == (True, False, 10_000_000)
    assert "the original of 10000000 bytes (sha256 " in found.stays()
    assert found.stays().endswith("lies at orders.submissions/3/47")
    assert found.stays().startswith("ask its sender for a smaller one")


def test_a_whole_one_that_came_compressed_and_is_too_large_without_is_not_replayed_either() -> None:
    assert large(b"x" * (MESSAGE_BYTES_MAX - 1_000)).may_go()
    found = large(b"x" * MESSAGE_BYTES_MAX)
    assert (found.is_cut, found.may_go()) == (False, False)
    assert (
        f"the original of {MESSAGE_BYTES_MAX} bytes lies at orders.submissions/3/47"
        in found.stays()
    )


@pytest.mark.parametrize(
    ("how", "status"), [(["--all"], 0), (["--id", "orders.events.dead-letters/3/7"], 1)]
)
def test_one_that_is_too_large_lets_the_others_go(
    monkeypatch: pytest.MonkeyPatch, how: list[str], status: int
) -> None:
    """It is named, with what to do; who asked for it alone gets no for an answer."""
    cut = letter(7)
    cut = DeadLetter(
        replace(
            cut.record, headers=(*cut.record.headers, ("dlq_sha256", b"0"), ("dlq_bytes", b"9"))
        )
    )

    async def found(_to: object, ids: list[str], *_: object) -> list[ReplayResult]:
        return (
            [ReplayResult(cut, STAYS)]
            if ids
            else [ReplayResult(cut, STAYS), ReplayResult(letter(8), WENT)]
        )

    monkeypatch.setattr(dlq, "target", lambda: None)
    monkeypatch.setattr(dlq, "replay_letters", found)
    done = CliRunner().invoke(dlq.dlq, ["replay", *how])
    assert done.exit_code == status
    assert "too large" in done.output


def test_a_beginning_of_an_id_that_only_one_letter_has_is_enough() -> None:
    one, two = letter(5), letter(57)
    begun = "orders.events.dead-letters/3/"
    assert select([one, two], [one.letter_id], None, everything=False) == [one]
    assert select([two], ["orders.ev"], None, everything=False) == [two]
    with pytest.raises(UsageError, match=f"{begun}5, {begun}57"):
        select([one, two], ["orders.ev"], None, everything=False)
    with pytest.raises(UsageError, match="there is no dead letter tax"):
        select([one, two], ["tax"], None, everything=False)


def test_a_letter_that_is_gone_is_not_taken_for_one_whose_number_begins_alike() -> None:
    """Letter 5 was kept for its time and is gone: to drop it is not to drop letter 57."""
    gone, other = letter(5).letter_id, letter(57)
    with pytest.raises(UsageError, match="may be another"):
        select([other], [gone], None, everything=False)
    assert select([other], [gone], None, everything=False, to_change=False) == [other]
