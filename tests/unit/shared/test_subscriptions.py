"""The table of event types to handlers: what each handler gets, and in which order handlers run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from shared import topics
from shared.envelope import Message, Record
from shared.events.customs import GoodsReleased
from shared.events.orders import OrderPlaced
from shared.subscriptions import Outcome, Source, Subscription, Subscriptions, on


class Bill:
    pass


class Receipt:
    pass


class Notice:
    pass


def read(_record: Record) -> Sequence[Message]:
    return ()


RECEIPTS = Source(topics.RECEIPTS, decode=read, intake=True)


async def handle_receipts(_conn: Any, _batch: Sequence[Message], _deps: Any) -> Outcome:
    return Outcome()


async def handle_bills(_conn: Any, _batch: Sequence[Message], _deps: Any) -> Outcome:
    return Outcome()


async def handle_rest(_conn: Any, _batch: Sequence[Message], _deps: Any) -> Outcome:
    return Outcome()


def messages(*events: Any) -> list[Message]:
    at = datetime.now(UTC)
    return [
        Message(UUID(int=n), "", UUID(int=n), event, at, topics.RECEIPTS, 0, n)
        for n, event in enumerate(events)
    ]


def test_handlers_run_in_the_tables_order_and_messages_keep_their_own() -> None:
    table = Subscriptions(
        on(RECEIPTS, Bill, do=handle_bills),
        on(RECEIPTS, Receipt, do=handle_receipts),
    )
    batch = messages(Receipt(), Bill(), Receipt(), Bill())
    assert list(table.by_handler(batch)) == [
        (handle_bills, [batch[1], batch[3]]),
        (handle_receipts, [batch[0], batch[2]]),
    ]


def test_one_handler_gets_its_events_of_all_types_and_topics_at_once() -> None:
    table = Subscriptions(
        on(RECEIPTS, Bill, do=handle_bills),
        on(RECEIPTS, Receipt, Notice, do=handle_receipts),
        on(topics.ORDERS, OrderPlaced, do=handle_bills),
    )
    batch = messages(Notice(), Receipt(), Bill())
    placed = batch[2]._replace(topic=topics.ORDERS, event=OrderPlaced.__new__(OrderPlaced))
    assert list(table.by_handler([*batch, placed])) == [
        (handle_bills, [batch[2], placed]),
        (handle_receipts, batch[:2]),
    ]


def test_a_row_without_types_takes_what_no_other_row_names() -> None:
    table = Subscriptions(on(RECEIPTS, do=handle_rest), on(RECEIPTS, Bill, do=handle_bills))
    batch = messages(Bill(), Receipt(), Notice())
    for _ in range(2):
        assert list(table.by_handler(batch)) == [
            (handle_rest, batch[1:]),
            (handle_bills, batch[:1]),
        ]


def test_an_event_that_no_row_takes_is_an_error() -> None:
    table = Subscriptions(on(RECEIPTS, Bill, do=handle_bills))
    with pytest.raises(LookupError, match="no handler is subscribed to Receipt"):
        list(table.by_handler(messages(Bill(), Receipt())))


def test_a_table_knows_the_topics_in_its_order_and_the_wire_types_of_our_own() -> None:
    table = Subscriptions(
        on(topics.CUSTOMS, GoodsReleased, do=handle_rest),
        on(RECEIPTS, Bill, do=handle_bills),
        on(topics.ORDERS, OrderPlaced, do=handle_rest),
    )
    assert list(table.sources) == [topics.CUSTOMS, topics.RECEIPTS, topics.ORDERS]
    assert table.event_types == {
        topics.CUSTOMS: (GoodsReleased,),
        topics.RECEIPTS: (),
        topics.ORDERS: (OrderPlaced,),
    }


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ((on(topics.ORDERS, do=handle_rest),), "name the event types"),
        ((on(RECEIPTS, do=handle_rest), on(RECEIPTS, do=handle_bills)), "name the event types"),
        ((on(RECEIPTS, Bill, do=handle_rest), on(RECEIPTS, Bill, do=handle_bills)), "one handler"),
        ((on(RECEIPTS, do=handle_rest), on(topics.RECEIPTS, Bill, do=handle_rest)), "one source"),
    ],
)
def test_rows_that_contradict_each_other_are_refused(
    rows: tuple[Subscription, ...], why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        Subscriptions(*rows)
