"""What is too large for its topic: nothing of the kind gets into the outbox, and if it does, nobody waits for it."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from shared import outbox, topics
from shared.dead_letters import CUT_BYTES, dead_letter
from shared.envelope import Outgoing, Record
from shared.errors import Unprocessable

HUGE = b'{"note": "' + b"x" * (10 * 1024 * 1024) + b'"}'
TOO_LARGE = Unprocessable("too_large", "a submission has at most 262144 bytes")


class Table:
    """An outbox that must stay as it is."""

    async def copy_records_to_table(self, *_: Any, **__: Any) -> None:
        raise AssertionError("nothing may be written")


@pytest.mark.parametrize("where", ["value", "key", "headers"])
async def test_a_record_its_topic_would_not_take_does_not_get_into_the_outbox(where: str) -> None:
    much = b"x" * topics.MESSAGE_BYTES_MAX
    record = {
        "value": Outgoing(topics.ORDERS, b"k", much, ()), "key": Outgoing(topics.ORDERS, much, b"", ()),
        "headers": Outgoing(topics.ORDERS, b"k", b"", (("a", much),)),
    }[where]  # fmt: skip
    with pytest.raises(Unprocessable, match=r"orders\.events has 2097") as refused:
        await outbox.append(Table(), None, [Outgoing(topics.ORDERS, b"k", b"small", ()), record])
    assert refused.value.reason == "too_large"


@pytest.mark.parametrize(
    "record",
    [
        Record("orders.submissions", 3, 5, 0, b"k", HUGE, (("ce_id", b"1"),)),
        Record("orders.submissions", 3, 5, 0, HUGE, b"small", (("ce_id", b"1"),)),
        Record(
            "orders.submissions",
            3,
            5,
            0,
            b"k",
            b"small",
            (("ce_id", b"1"), ("a", HUGE), ("b", b"2")),
        ),
        Record(
            "orders.submissions", 3, 5, 0, b"k", b"small", (("ce_id", b"1"), ("x" * len(HUGE), b""))
        ),
        Record(
            "orders.submissions",
            3,
            5,
            0,
            b"k",
            b"small",
            (("ce_id", b"1"), *(("a", b"1") for _ in range(1_000_000))),
        ),
    ],
    ids=["value", "key", "a header", "the name of a header", "a million headers"],
)
def test_a_dead_letter_too_large_for_its_topic_is_cut_and_says_so(record: Record) -> None:
    letter = dead_letter("orders", record, TOO_LARGE)
    head = dict(letter.headers)
    assert outbox.fits(letter)
    assert letter.value == (record.value or b"")[:CUT_BYTES]
    assert (head["ce_id"], head["dlq_topic"], head["dlq_partition"], head["dlq_offset"]) == (
        b"1",
        b"orders.submissions",
        b"3",
        b"5",
    )
    assert int(head["dlq_bytes"]) == len(record.value or b"")
    assert head["dlq_sha256"].decode() == hashlib.sha256(record.value or b"").hexdigest()


def test_the_largest_record_the_broker_takes_uncompressed_is_a_whole_dead_letter() -> None:
    value = b"x" * topics.MESSAGE_BYTES_MAX
    letter = dead_letter(
        "orders", Record("orders.submissions", 3, 5, 0, b"k", value, ()), TOO_LARGE
    )
    assert letter.value == value
    assert "dlq_sha256" not in dict(letter.headers)
