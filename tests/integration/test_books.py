"""The books refuse every wrong movement by themselves, and a second amount for one movement."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from services.payments import store
from services.payments.domain import ledger
from services.payments.domain.ledger import Account, Purpose
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
        pytest.param(
            (changed(DEBIT, amount=-100), changed(CREDIT, amount=100)), id="the signs are swapped"
        ),
        pytest.param((DEBIT, changed(CREDIT, order_id=OTHER)), id="the rows are of two orders"),
        pytest.param(
            (changed(DEBIT, purpose="nonsense"), changed(CREDIT, purpose="nonsense")),
            id="nobody knows the purpose",
        ),
        pytest.param((DEBIT, changed(CREDIT, purpose="refund")), id="the rows have two purposes"),
        pytest.param(
            (DEBIT, changed(CREDIT, account="bank_clearing")), id="one account is on both sides"
        ),
        pytest.param(
            (DEBIT, changed(CREDIT, account="merchant_payable")), id="the merchant has no code"
        ),
        pytest.param(
            (changed(DEBIT, account="merchant_claim"), CREDIT),
            id="the merchant of a claim has no code",
        ),
        pytest.param(
            (DEBIT, changed(CREDIT, party="46016602EV")), id="a merchant is named who has no part"
        ),
        pytest.param((DEBIT, changed(CREDIT, amount=-99)), id="it does not sum to zero"),
        pytest.param((DEBIT, changed(CREDIT, currency="USD")), id="the rows are in two currencies"),
        pytest.param((DEBIT,), id="there is no credit"),
        pytest.param(
            (changed(DEBIT, amount=100), changed(CREDIT, amount=0)), id="nothing is credited"
        ),
    ],
)
async def test_a_wrong_movement_is_refused(rig: Rig, rows: tuple[Row, ...]) -> None:
    async with rig.pool.acquire() as conn:
        with pytest.raises(asyncpg.CheckViolationError):
            await write(conn, *rows)
        assert await conn.fetchval("SELECT count(*) FROM journal") == 0


ONE_WAY: dict[Purpose, list[tuple[Account, Account]]] = {
    Purpose.CAPTURE: [(Account.BANK_CLEARING, Account.BUYER_FUNDS)],
    Purpose.SETTLE_MERCHANT: [(Account.BUYER_FUNDS, Account.MERCHANT_PAYABLE)],
    Purpose.SETTLE_TAX: [(Account.BUYER_FUNDS, Account.TAX_PAYABLE)],
    Purpose.UNSETTLE_MERCHANT: [(Account.MERCHANT_PAYABLE, Account.BUYER_FUNDS)],
    Purpose.UNSETTLE_TAX: [
        (Account.TAX_SUSPENSE, Account.BUYER_FUNDS),
        (Account.BUYER_FUNDS, Account.TAX_PAYABLE),
    ],
    Purpose.REFUND: [(Account.BUYER_FUNDS, Account.BANK_CLEARING)],
    Purpose.REFUND_TAX: [(Account.TAX_SUSPENSE, Account.BANK_CLEARING)],
    Purpose.PAY_TAX: [(Account.TAX_PAYABLE, Account.BANK_CLEARING)],
    Purpose.RESERVE: [(Account.GUARANTEE_RESERVED, Account.GUARANTEE_FREE)],
    Purpose.UNRESERVE: [(Account.GUARANTEE_FREE, Account.GUARANTEE_RESERVED)],
    Purpose.WRITE_OFF: [(Account.BUYER_FUNDS, account) for account in ledger.WRITE_OFF_ACCOUNTS],
    Purpose.WRITE_OFF_TAX: [
        (Account.TAX_SUSPENSE, account) for account in ledger.WRITE_OFF_ACCOUNTS
    ],
}
EITHER_WAY: dict[Purpose, list[tuple[Account, Account]]] = {
    Purpose.ASSESS: [(Account.TAX_SUSPENSE, Account.TAX_PAYABLE)],
    Purpose.BILL: [(Account.TAX_SUSPENSE, Account.TAX_PAYABLE)],
    Purpose.RESTORE_TAX: [(Account.TAX_PAYABLE, Account.TAX_SUSPENSE)],
    Purpose.BOOK_DIFFERENCE: [(Account.TAX_DIFFERENCE, Account.TAX_SUSPENSE)],
    Purpose.CLAIM: [(Account.MERCHANT_CLAIM, Account.TAX_SUSPENSE)],
    Purpose.DEPOSIT: [(Account.GUARANTEE_FREE, Account.OWN_FUNDS)],
}
"""Between which accounts each purpose moves, debit and credit."""


def movement(purpose: Purpose, debit: Account, credit: Account) -> tuple[Row, Row]:
    def part(account: Account) -> str:
        return "M" if account in {Account.MERCHANT_PAYABLE, Account.MERCHANT_CLAIM} else ""

    order_id = uuid4()
    return (
        changed(DEBIT, order_id=order_id, purpose=purpose, account=debit, party=part(debit)),
        changed(CREDIT, order_id=order_id, purpose=purpose, account=credit, party=part(credit)),
    )


async def write_deferred(conn: Any, rows: tuple[Row, Row]) -> None:
    """Write each row by itself, as if the books were judged at the end only."""
    async with conn.transaction():
        await conn.execute("SET CONSTRAINTS ALL DEFERRED")
        for row in rows:
            await write(conn, row)


async def is_taken(conn: Any, *rows: Row) -> bool:
    try:
        await write(conn, *rows)
    except asyncpg.CheckViolationError:
        return False
    return True


async def test_each_purpose_moves_between_its_accounts_the_right_way_round_and_no_others(
    rig: Rig,
) -> None:
    known = ONE_WAY | EITHER_WAY
    assert set(known) == set(Purpose)
    assert {account for pairs in known.values() for pair in pairs for account in pair} == set(
        Account
    )
    async with rig.pool.acquire() as conn:
        outer = conn.transaction()
        await outer.start()
        for purpose, pairs in known.items():
            for debit, credit in pairs:
                assert await is_taken(conn, *movement(purpose, debit, credit)), (
                    purpose,
                    debit,
                    credit,
                )
                back = await is_taken(conn, *movement(purpose, credit, debit))
                assert back is (purpose in EITHER_WAY), (purpose, credit, debit)
            named = {account for pair in pairs for account in pair}
            for account in set(Account) - named:
                assert not await is_taken(conn, *movement(purpose, account, pairs[0][1])), (
                    purpose,
                    account,
                )
                assert not await is_taken(conn, *movement(purpose, pairs[0][0], account)), (
                    purpose,
                    account,
                )
        await outer.rollback()


async def test_one_wrong_movement_among_many_in_one_insert_refuses_them_all(rig: Rig) -> None:
    right, wrong = (
        movement(Purpose.CAPTURE, *ONE_WAY[Purpose.CAPTURE][0]),
        movement(Purpose.REFUND, *ONE_WAY[Purpose.CAPTURE][0]),
    )
    columns = (
        "txn_id",
        "seq",
        "order_id",
        "purpose",
        "account",
        "party",
        "currency",
        "amount_minor",
    )
    rows = [
        (txn_id, seq, *row)
        for pair in (right, wrong)
        for txn_id in [uuid4()]
        for seq, row in enumerate(pair)
    ]
    async with rig.pool.acquire() as conn:
        with pytest.raises(asyncpg.CheckViolationError):
            await conn.copy_records_to_table("journal", columns=columns, records=rows)
        with pytest.raises(asyncpg.CheckViolationError):
            await write_deferred(conn, right)
        assert await conn.fetchval("SELECT count(*) FROM journal") == 0


async def test_one_movement_has_one_amount(rig: Rig) -> None:
    cause, order_id = uuid4(), uuid4()
    first = list(ledger.entries(cause, order_id, ledger.capture(Money.of("100", "CNY"))[0]))
    other = list(ledger.entries(cause, order_id, ledger.capture(Money.of("90", "CNY"))[0]))
    async with rig.pool.acquire() as conn:
        outer = conn.transaction()
        await outer.start()
        await store.book(conn, first)
        await store.book(conn, first)
        with pytest.raises(
            Unprocessable, match=r"the books have the capture .* with another amount"
        ):
            await store.book(conn, other)
        assert await conn.fetchval("SELECT sum(amount_minor) FROM journal WHERE seq = 0") == 10_000
        await outer.rollback()
