"""The money's way from what was withheld to what customs took: every order of events ends with nothing left in between."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.payments.customs_debt import tax_due
from services.payments.customs_debt.allocation import LedgerPosition, allocate_difference
from services.payments.customs_debt.cover import cover
from services.payments.customs_debt.deposit_policy import POLICY, load
from services.payments.customs_debt.tax_due import TaxDueState
from services.payments.domain import ledger
from services.payments.domain.bank import Transferred
from services.payments.domain.ledger import Account, Movement
from shared.errors import Misconfigured
from shared.events.tax import TaxBillCorrected, TaxBillDue, TaxBillSettled, TaxPosted, TaxRestored
from shared.money import Money
from shared.transitions import IllegalTransition

ORDER, PAYMENT = UUID(int=7), UUID(int=8)
amounts = st.integers(0, 100_000)


def yuan(minor: int) -> Money:
    return Money(minor, "CNY")


def came_back(assessed: int, remaining: int = 0, part: int = 1) -> TaxRestored:
    return TaxRestored(
        order_id=ORDER,
        return_no=part,
        total=yuan(assessed),
        quota=yuan(0),
        remaining=yuan(remaining),
    )


def outcome_of(withheld: int, billed: int) -> str:
    return (
        "exact"
        if billed == withheld
        else "booked"
        if abs(billed - withheld) <= 50
        else "claim"
        if billed > withheld
        else "refund"
    )


class Books:
    """The balances of one order after these movements."""

    def __init__(self) -> None:
        self.of: Counter[Account] = Counter()
        self.held = LedgerPosition()

    def book(self, movements: tuple[Movement, ...]) -> None:
        self.held = self.held.after(movements)
        for movement in movements:
            for entry in ledger.entries(uuid4(), ORDER, movement):
                self.of[entry.account] += entry.amount_minor

    def released(self, withheld: int, assessed: int) -> None:
        """What a release books: the shares of what was captured, and what was assessed."""
        self.book(ledger.capture(yuan(10**6)))
        self.book(ledger.settle(yuan(10**6), yuan(withheld), "M"))
        self.book(
            tax_due.owe_assessed(TaxPosted(order_id=ORDER, total=yuan(assessed)), yuan(withheld))
        )

    def settled(self, withheld: int, assessed: int, billed: int) -> tax_due.TaxDue:
        event = TaxBillSettled(
            order_id=ORDER, tax_no="T", withheld=yuan(withheld), assessed=yuan(assessed), billed=yuan(billed), merchant_code="M",
            outcome=outcome_of(withheld, billed),  # type: ignore[arg-type]
        )  # fmt: skip
        due, movements = tax_due.settle(event, yuan(withheld))
        self.book(movements)
        excess = tax_due.excess_of(due)
        if excess is None:
            return due
        self.book(
            ledger.shift(
                ledger.Purpose.REFUND_TAX, ledger.SUSPENSE, ledger.BANK, excess.minor, "CNY"
            )
        )
        return tax_due.TaxDue(**{f: getattr(due, f) for f in due.__slots__} | {"refunded": excess})

    def evened_out(self, due: tax_due.TaxDue) -> tax_due.TaxDue:
        """What is between withheld and billed shared out anew; the bank gives back at once what is too much."""
        due, moved, excess = allocate_difference(due, self.held)
        self.book(moved)
        if excess.minor:
            self.book(
                ledger.shift(
                    ledger.Purpose.REFUND_TAX,
                    ledger.SUSPENSE,
                    ledger.BANK,
                    excess.minor,
                    "CNY",
                    due.revision,
                )
            )
            due = replace(due, refunded=due.refunded + excess)
        assert allocate_difference(due, self.held) == (due, (), yuan(0))
        return due

    def given_back(self, withheld: int, due: tax_due.TaxDue) -> None:
        """What undoing the order books, beside what tax says."""
        price, tax = ledger.shares(yuan(10**6), yuan(withheld))
        self.book(ledger.unsettle(price, tax - due.refunded, "M", 1))
        self.book(ledger.refund(yuan(10**6) - due.refunded, 1))


@given(amounts, amounts, amounts)
def test_customs_gets_what_it_billed_and_nothing_stays_in_between(
    withheld: int, assessed: int, billed: int
) -> None:
    books = Books()
    books.released(withheld, assessed)
    assert books.of[Account.TAX_PAYABLE] == -assessed
    due = books.settled(withheld, assessed, billed)
    assert books.of[Account.TAX_PAYABLE] == -billed
    assert books.of[Account.TAX_SUSPENSE] == 0
    due = tax_due.hand_over(due, _due(billed))
    due, movements = tax_due.pay(due, Transferred(PAYMENT, "T1"))
    books.book(movements)
    assert due.state is TaxDueState.PAID
    assert books.of[Account.TAX_PAYABLE] == 0
    # Whoever bears the difference, in all the enterprise keeps what it did not pass on.
    outcome = outcome_of(withheld, billed)
    assert books.of[Account.TAX_DIFFERENCE] == (billed - withheld if outcome == "booked" else 0)
    assert books.of[Account.MERCHANT_CLAIM] == (billed - withheld if outcome == "claim" else 0)
    assert books.of[Account.BANK_CLEARING] == 10**6 - billed - (
        withheld - billed if outcome == "refund" else 0
    )
    assert sum(books.of.values()) == 0


def _due(billed: int) -> TaxBillDue:
    return TaxBillDue(
        order_id=ORDER,
        tax_no="T",
        payment_book="B",
        payment_id=PAYMENT,
        bills=1,
        amount=yuan(billed),
    )


@given(amounts, amounts, amounts)
def test_goods_that_come_back_leave_no_account_moved(
    withheld: int, assessed: int, billed: int
) -> None:
    books = Books()
    books.released(withheld, assessed)
    due = books.settled(withheld, assessed, billed)
    books.given_back(withheld, due)
    due, movements = tax_due.restore(due, came_back(assessed))
    books.book(movements)
    assert books.evened_out(due).state is TaxDueState.RESTORED
    assert {account: minor for account, minor in books.of.items() if minor} == {}


@given(amounts, amounts)
def test_goods_that_come_back_before_the_bill_leave_no_account_moved(
    withheld: int, assessed: int
) -> None:
    books = Books()
    books.released(withheld, assessed)
    books.book(ledger.unsettle(*ledger.shares(yuan(10**6), yuan(withheld)), "M", 1))
    books.book(ledger.refund(yuan(10**6), 1))
    books.book(tax_due.restore_unbilled(came_back(assessed)))
    assert {account: minor for account, minor in books.of.items() if minor} == {}


@settings(deadline=None)
@given(amounts, amounts, amounts, st.integers(0, 100), st.booleans())
def test_goods_that_come_back_in_two_parts_leave_no_account_moved(
    withheld: int, assessed: int, billed: int, percent: int, bill_between: bool
) -> None:
    """Whether the bill comes between the parts or never, whoever of the two topics is heard first."""
    first_tax, first_owed = withheld * percent // 100, assessed * percent // 100
    price, _ = ledger.shares(yuan(10**6), yuan(withheld))
    books = Books()
    books.released(withheld, assessed)
    books.book(tax_due.restore_unbilled(came_back(first_owed, assessed - first_owed)))
    books.book(ledger.unsettle(yuan(0), yuan(first_tax), "M", 1))
    books.book(ledger.refund(yuan(first_tax), 1) if first_tax else ())
    assert books.of[Account.TAX_PAYABLE] == first_owed - assessed
    if not bill_between:
        books.book(ledger.unsettle(price, yuan(withheld - first_tax), "M", 2))
        books.book(ledger.refund(yuan(10**6 - first_tax), 2))
        books.book(tax_due.restore_unbilled(came_back(assessed - first_owed, part=2)))
    else:
        event = TaxBillSettled(
            order_id=ORDER, tax_no="T", withheld=yuan(withheld), assessed=yuan(assessed - first_owed), billed=yuan(billed),
            merchant_code="M", outcome=outcome_of(withheld, billed),  # type: ignore[arg-type]
        )  # fmt: skip
        due, movements = tax_due.open_due(event, yuan(withheld), 1)
        books.book(movements)
        assert books.of[Account.TAX_PAYABLE] == -billed
        due = books.evened_out(due)
        assert books.of[Account.TAX_SUSPENSE] == 0
        rest = withheld - first_tax - due.refunded.minor
        books.book(ledger.unsettle(price, yuan(max(rest, 0)), "M", 2))
        books.book(ledger.refund(price + yuan(max(rest, 0)), 2))
        due, movements = tax_due.restore(due, came_back(assessed - first_owed, part=2))
        books.book(movements)
        books.evened_out(due)
    assert {account: minor for account, minor in books.of.items() if minor} == {}


@given(amounts, amounts, amounts)
def test_what_comes_back_too_late_costs_the_merchant_the_tax(
    withheld: int, assessed: int, billed: int
) -> None:
    books = Books()
    books.released(withheld, assessed)
    due = tax_due.hand_over(books.settled(withheld, assessed, billed), _due(billed))
    books.given_back(withheld, due)
    due, movements = tax_due.restore(due, came_back(assessed))
    books.book(movements)
    due = books.evened_out(due)
    assert due.state is TaxDueState.DUE
    assert books.of[Account.TAX_PAYABLE] == -billed
    books.book(tax_due.pay(due, Transferred(PAYMENT, "T1")).movements)
    borne = books.of[Account.MERCHANT_CLAIM] + books.of[Account.TAX_DIFFERENCE]
    assert books.of[Account.BANK_CLEARING] == -billed
    assert borne == billed


@settings(deadline=None)
@given(
    amounts,
    amounts,
    amounts,
    st.integers(1, 99),
    st.integers(-2_000, 2_000),
    st.permutations(["refund", "tax", "bill"]),
)
def test_a_part_that_comes_back_after_the_bill_ends_alike_in_whatever_order_it_is_heard(
    withheld: int, assessed: int, billed: int, percent: int, off: int, order: list[str]
) -> None:
    """Refund of the part, tax's word on it and the corrected bill."""
    books = Books()
    books.released(withheld, assessed)
    due = books.settled(withheld, assessed, billed)
    part, owed = (withheld - due.refunded.minor) * percent // 100, assessed * percent // 100
    left = max(0, billed - billed * percent // 100 + off)
    heard = 0
    for word in order:
        if word == "refund":
            books.book(ledger.unsettle(yuan(0), yuan(part), "M", 1))
            books.book(ledger.refund(yuan(part), 1) if part else ())
            heard = 1
        elif word == "tax":
            due, moved = tax_due.restore(due, came_back(owed, max(1, assessed - owed)))
            books.book(moved)
        else:
            event = TaxBillCorrected(
                order_id=ORDER, tax_no="T_1", replaces="T", number=1, billed=yuan(left), returns=1
            )
            due, moved = tax_due.correct(due, event)
            books.book(moved)
        due = books.evened_out(due) if heard >= due.returns else due
    assert (due.tax_no, due.billed) == ("T_1", yuan(left))
    assert books.of[Account.TAX_PAYABLE] == -left
    assert books.of[Account.TAX_SUSPENSE] == 0
    kept = withheld - part - due.refunded.minor
    assert books.of[Account.TAX_DIFFERENCE] + books.of[Account.MERCHANT_CLAIM] == left - kept
    # The buyer never bears what was withheld too little, and gets back what was withheld too much.
    assert left >= kept
    assert sum(books.of.values()) == 0


def test_a_bill_is_paid_once() -> None:
    due = tax_due.hand_over(Books().settled(1210, 1210, 1210), _due(1210))
    paid = tax_due.pay(due, Transferred(PAYMENT, "T1")).due
    for again in (
        lambda: tax_due.pay(paid, Transferred(PAYMENT, "T2")),
        lambda: tax_due.hand_over(paid, _due(1210)),
    ):
        with pytest.raises(IllegalTransition):
            again()


@given(st.integers(0, 500), st.lists(st.integers(1, 200), max_size=12))
def test_the_deposit_is_never_overdrawn_and_nobody_passes_an_older_demand(
    free: int, wanted: list[int]
) -> None:
    demands = [(UUID(int=i), yuan(amount)) for i, amount in enumerate(wanted)]
    covered, uncovered = cover(yuan(free), demands)
    left = free - sum(amount.minor for _, amount in covered)
    assert left >= 0
    assert [*covered, *uncovered] == demands
    assert not uncovered or uncovered[0][1].minor > left


def test_a_part_of_a_movement_that_is_nothing_is_no_movement() -> None:
    assert ledger.shift(ledger.Purpose.BILL, ledger.SUSPENSE, ledger.TAX_OFFICE, 0, "CNY") == ()


def test_two_orders_of_one_transfer_are_two_transactions() -> None:
    (movement,) = ledger.reserve(yuan(1))
    assert (
        ledger.entries(UUID(int=1), ORDER, movement)[0].txn_id
        != ledger.entries(UUID(int=2), ORDER, movement)[0].txn_id
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [('amount = "100000000.00"', 'amount = "1.001"'), ('currency = "CNY"', 'currency = "USD"'), ("valid_from", "from"),
     ('amount = "100000000.00"', 'amount = "-1.00"'), ("[[deposit]]", "[[deposits]]")],
)  # fmt: skip
def test_a_bad_deposit_is_refused(tmp_path: Path, old: str, new: str) -> None:
    path = tmp_path / "guarantee.toml"
    path.write_text(POLICY.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    with pytest.raises(Misconfigured, match=r"guarantee\.toml"):
        load(path)
