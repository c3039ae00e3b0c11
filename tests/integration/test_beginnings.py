"""An order is found by its id, its number, or any beginning of one that no other order has."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from services.cli.connect import UsageError
from services.cli.id_prefixes import order_of

IDS = [
    UUID(f"{digits}-0000-5000-8000-000000000000") for digits in ("b1858202", "b1858299", "0abc0000")
]
NUMBERS = ["SHOP-1", "SHOP-12", "b18"]
DIGITS = "12345678901234567890123456789012"


@pytest.fixture
async def conn(database: str) -> AsyncIterator[Any]:
    made = await asyncpg.connect(database)
    for order_id, order_no in zip(IDS, NUMBERS, strict=True):
        await add(made, order_id, order_no)
    yield made
    await made.close()


async def add(conn: Any, order_id: UUID, order_no: str) -> None:
    await conn.execute(
        "INSERT INTO orders.orders (order_id, order_no, platform_code, state, doc, version, received_at, updated_at) "
        "VALUES ($1, $2, 'P', 'placed', '{}', 1, now(), now())",
        order_id, order_no,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (str(IDS[0]), 0), (str(IDS[0]).upper(), 0), ("b1858202", 0), ("B185820", 0), ("b1858202-00", 0), ("b185829", 1),
        ("SHOP-1", 0), ("SHOP-12", 1), ("b18", 2), ("0a", 2), ("0", 2), ("nobody", None), ("b185-8202", None), ("%", None), ("", None),
    ],
)  # fmt: skip
async def test_a_unique_beginning_is_enough(conn: Any, given: str, found: int | None) -> None:
    assert await order_of(conn, given) == (None if found is None else IDS[found])


@pytest.mark.parametrize("given", ["SHOP", "b1858", "S", "b1"])
async def test_an_ambiguous_one_names_the_orders(conn: Any, given: str) -> None:
    with pytest.raises(
        UsageError, match=r"name the order by its id: .* begins .*\(b1858202-.*, .*\(b1858299-"
    ):
        await order_of(conn, given)


async def test_a_number_of_32_digits_is_a_number(conn: Any) -> None:
    await add(conn, UUID(int=7), DIGITS)
    assert await order_of(conn, DIGITS) == UUID(int=7)


async def test_to_change_an_order_its_number_is_given_whole_where_it_may_be_another(
    conn: Any,
) -> None:
    await conn.execute("DELETE FROM orders.orders WHERE order_no = 'SHOP-1'")
    assert await order_of(conn, "SHOP-1") == IDS[1]
    with pytest.raises(UsageError, match="SHOP-12 may be another"):
        await order_of(conn, "SHOP-1", to_change=True)
    assert await order_of(conn, "SHO", to_change=True) == IDS[1]
    assert await order_of(conn, "b1858", to_change=True) == IDS[1]
