"""The books refuse every wrong movement by themselves, and a second amount for one movement."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from services.payments import ledger, store
from services.payments.ledger import Account, Purpose
from shared.errors import Unprocessable
from shared.money import Money
from tests.integration.test_payments import Rig, rig

__all__ = ["rig"]

ORDER, OTHER = UUID(int=1), UUID(int=2)
Row = tuple[UUID, str, str, str, str, int]
"""Order, purpose, account, party, currency and amount of one row of a movement."""
DEBIT: Row = (ORDER, "capture", "bank_clearing", "", "CNY", 100)
CREDIT: Row = (ORDER, "capture", "buyer_funds", "", "CNY", -100)


def changed(row: Row, **to: Any) -> Row:
    names = ("order_id", "purpose", "account", "party", "currency", "amount")
    return tuple(to.get(name, value) for name, value in zip(names, row, strict=True))


async def write(conn: Any, *rows: Row) -> None:
    txn_id = uuid4()
    async with conn.transaction():
        await conn.execute(
            "INSERT INTO journal (txn_id, seq, order_id, purpose, account, party, currency, amount_minor) "
            "SELECT $1, n - 1, o, p, a, y, c, m FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[]) "
            "WITH ORDINALITY AS u(o, p, a, y, c, m, n)",
            txn_id, *map(list, zip(*rows, strict=True)),
        )  # fmt: skip


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param((changed(DEBIT, amount=-100), changed(CREDIT, amount=100)), id="the signs are swapped"),
        pytest.param((DEBIT, changed(CREDIT, order_id=OTHER)), id="the rows are of two orders"),
        pytest.param((changed(DEBIT, purpose="nonsense"), changed(CREDIT, purpose="nonsense")), id="nobody knows the purpose"),
        pytest.param((DEBIT, changed(CREDIT, purpose="refund")), id="the rows have two purposes"),
        pytest.param((DEBIT, changed(CREDIT, account="bank_clearing")), id="one account is on both sides"),
        pytest.param((DEBIT, changed(CREDIT, account="merchant_payable")), id="the merchant has no code"),
        pytest.param((changed(DEBIT, account="merchant_claim"), CREDIT), id="the merchant of a claim has no code"),
        pytest.param((DEBIT, changed(CREDIT, party="46016602EV")), id="a merchant is named who has no part"),
        pytest.param((DEBIT, changed(CREDIT, amount=-99)), id="it does not sum to zero"),
        pytest.param((DEBIT, changed(CREDIT, currency="USD")), id="the rows are in two currencies"),
        pytest.param((DEBIT,), id="there is no credit"),
        pytest.param((changed(DEBIT, amount=100), changed(CREDIT, amount=0)), id="nothing is credited"),
    ],
)
async def test_a_wrong_movement_is_refused(rig: Rig, rows: tuple[Row, ...]) -> None:
    async with rig.pool.acquire() as conn:
        with pytest.raises(asyncpg.CheckViolationError):
            await write(conn, *rows)
        assert await conn.fetchval("SELECT count(*) FROM journal") == 0


async def test_every_purpose_and_account_of_the_ledger_is_known_to_the_database(rig: Rig) -> None:
    async with rig.pool.acquire() as conn:
        outer = conn.transaction()
        await outer.start()
        for purpose in Purpose:
            await write(conn, changed(DEBIT, purpose=purpose), changed(CREDIT, purpose=purpose))
        for account in set(Account) - {Account.BUYER_FUNDS}:
            party = "M" if account in {Account.MERCHANT_PAYABLE, Account.MERCHANT_CLAIM} else ""
            order_id = uuid4()
            await write(conn, changed(DEBIT, account=account, party=party, order_id=order_id), changed(CREDIT, order_id=order_id))
        await outer.rollback()


async def test_one_movement_has_one_amount(rig: Rig) -> None:
    cause, order_id = uuid4(), uuid4()
    first = list(ledger.entries(cause, order_id, ledger.capture(Money.of("100", "CNY"))[0]))
    other = list(ledger.entries(cause, order_id, ledger.capture(Money.of("90", "CNY"))[0]))
    async with rig.pool.acquire() as conn:
        outer = conn.transaction()
        await outer.start()
        await store.book(conn, first)
        await store.book(conn, first)
        with pytest.raises(Unprocessable, match=r"the books have the capture .* with another amount"):
            await store.book(conn, other)
        assert await conn.fetchval("SELECT sum(amount_minor) FROM journal WHERE seq = 0") == 10_000
        await outer.rollback()
