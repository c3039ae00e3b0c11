"""What may happen to a payment: every pair, every order of arrival, the laws of its books."""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import product
from uuid import UUID, uuid4, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.payments import ledger
from services.payments.domain.bank import (
    Ask,
    AuthorisationDeclined,
    Authorise,
    Authorised,
    Capture,
    Captured,
    CaptureDeclined,
    Refund,
    Refunded,
    Void,
    Voided,
)
from services.payments.domain.payment import PAYMENT, UNWINDING, Decision, Heard, Payment, State, follow
from services.payments.ledger import Account, Entry
from shared.events.customs import GoodsReleased
from shared.events.orders import OrderPlaced, OrderUnwinding, Party
from shared.events.payments import (
    MerchantSettled,
    PaymentCaptured,
    PaymentDeclined,
    PaymentRefunded,
    PaymentsEvent,
    PaymentVoided,
)
from shared.events.persons import SealedConsignee, SealedPerson
from shared.money import Money
from shared.transitions import IllegalTransition

ORDER = UUID("7b1c0d5e-0000-4000-8000-000000000001")
PERSON = UUID("7b1c0d5e-0000-4000-8000-000000000002")


def cny(amount: str) -> Money:
    return Money.of(amount, "CNY")


def placed(amount: str = "204.10", tax: str = "12.10") -> OrderPlaced:
    person = SealedPerson(person_ref=PERSON, sealed=b"sealed", id_type="1", name_digest="n", id_digest="i")
    consignee = SealedConsignee(
        person_ref=PERSON,
        sealed=b"sealed",
        country="CN",
        name_digest="n",
        phone_digest="p",
        address_digest="a",
    )
    return OrderPlaced(
        order_id=ORDER, order_no="SHOP1-1", placed_at=datetime(2026, 11, 23, tzinfo=UTC), direction="import",
        mode="9610", corridor="US-CN", platform=Party(code="1105910159", name="P"),
        merchant=Party(code="46016602EV", name="M"), buyer=person, payer=person, consignee=consignee,
        payment_enterprise="440316T004", payment_token="tok_ok", currency="CNY", lines=(),
        goods_value=cny("172"), freight=cny("20"), insurance=cny("0"), discount=cny("0"),
        tax_withheld=cny(tax), amount_paid=cny(amount),
    )  # fmt: skip


PLACED = placed()
UNWOUND = OrderUnwinding(order_id=ORDER, towards="rejected", released=False)
RELEASED = GoodsReleased(order_id=ORDER, cop_no="C1", status="800", info="released")
AUTHORISED = Authorised(ORDER, "A1")
NO_FUNDS = AuthorisationDeclined(ORDER, "AM04", "insufficient funds")
EXPIRED = CaptureDeclined(ORDER, "AC04", "the authorisation has expired")
VOIDED = Voided(ORDER)
REFUNDED = Refunded(ORDER, "R1")


def captured(amount: str = "204.10") -> Captured:
    return Captured(ORDER, cny(amount), "P1", "440316T004", PERSON, "n", datetime(2026, 11, 23, tzinfo=UTC))


HEARD: tuple[Heard, ...] = (
    PLACED,
    UNWOUND,
    RELEASED,
    AUTHORISED,
    NO_FUNDS,
    captured(),
    EXPIRED,
    VOIDED,
    REFUNDED,
)


def after(*heard: Heard) -> Decision:
    """The last decision of a payment that heard all this."""
    decision = Decision(Payment(ORDER))
    for one in heard:
        decision = follow(decision.payment, one)
    return decision


def all_after(*heard: Heard) -> tuple[Payment, list[PaymentsEvent], list[Ask], list[Entry]]:
    """Everything that followed from the whole way."""
    payment: Payment | None = None
    facts: list[PaymentsEvent] = []
    asks: list[Ask] = []
    books: list[Entry] = []
    for one in heard:
        decision = follow(payment, one)
        payment = decision.payment
        facts += decision.facts
        asks += decision.asks
        books += [e for m in decision.movements for e in ledger.entries(uuid4(), ORDER, m)]
    assert payment is not None
    return payment, facts, asks, books


WAYS: dict[tuple[State, bool], tuple[Heard, ...]] = {
    (State.UNASKED, False): (),
    (State.AUTHORISING, False): (PLACED,),
    (State.AUTHORISED, False): (PLACED, AUTHORISED),
    (State.CAPTURED, False): (PLACED, AUTHORISED, captured()),
    (State.SETTLED, False): (PLACED, AUTHORISED, captured(), RELEASED),
    (State.DECLINED, False): (PLACED, NO_FUNDS),
    (State.VOIDING, False): (PLACED, AUTHORISED, EXPIRED),
    (State.AUTHORISING, True): (PLACED, UNWOUND),
    (State.AUTHORISED, True): (PLACED, AUTHORISED, UNWOUND),
    (State.VOIDING, True): (PLACED, UNWOUND, AUTHORISED),
    (State.VOIDED, True): (UNWOUND,),
    (State.REFUNDING, True): (PLACED, AUTHORISED, captured(), UNWOUND),
    (State.REFUNDED, True): (PLACED, AUTHORISED, captured(), UNWOUND, REFUNDED),
}


def pairs() -> Iterator[tuple[State, bool, Heard]]:
    for (state, unwinding), heard in product(WAYS, HEARD):
        yield state, unwinding, heard


@pytest.mark.parametrize(("state", "unwinding", "heard"), list(pairs()), ids=lambda v: getattr(type(v), "__name__", str(v)))
def test_each_pair_goes_where_the_table_says_or_is_refused_by_name(state: State, unwinding: bool, heard: Heard) -> None:
    payment = after(*WAYS[state, unwinding]).payment
    assert (payment.state, payment.unwinding) == (state, unwinding)
    table = UNWINDING if unwinding else PAYMENT
    if not table.allows(state, heard):
        with pytest.raises(IllegalTransition, match=type(heard).__name__):
            follow(payment, heard)
        return
    decision = follow(payment, heard)
    assert decision.payment.state is table.next(state, heard)
    assert decision.payment.version == payment.version + len(decision.facts)
    if decision.payment == payment:
        assert decision == Decision(payment), "what changes nothing says and asks nothing"


def test_no_row_of_the_tables_stands_for_a_state_that_cannot_be_reached() -> None:
    assert {(state, False) for state, _, _ in PAYMENT} <= WAYS.keys()
    assert {(state, True) for state, _, _ in UNWINDING} <= WAYS.keys()


def test_a_paid_and_released_order_settles_the_merchant_and_the_tax() -> None:
    payment, facts, asks, books = all_after(PLACED, AUTHORISED, captured(), RELEASED, RELEASED)
    assert [type(f) for f in facts] == [PaymentCaptured, MerchantSettled]
    assert [type(a) for a in asks] == [Authorise, Capture]
    assert payment.version == 2
    assert facts[1] == MerchantSettled(
        order_id=ORDER, merchant_code="46016602EV", merchant_amount=cny("192.00"), tax_amount=cny("12.10")
    )
    assert balances(books) == {
        Account.BANK_CLEARING: 20410,
        Account.MERCHANT_PAYABLE: -19200,
        Account.TAX_PAYABLE: -1210,
    }


def test_an_undone_order_never_heard_of_is_a_tombstone_its_order_does_not_wake() -> None:
    payment, facts, asks, books = all_after(UNWOUND, PLACED, UNWOUND)
    assert payment == Payment(ORDER, version=1, state=State.VOIDED, unwinding=True)
    assert (facts, asks, books) == ([PaymentVoided(order_id=ORDER)], [], [])


def test_what_the_bank_took_is_booked_and_announced_even_if_it_is_not_what_was_asked() -> None:
    _, facts, _, books = all_after(PLACED, AUTHORISED, captured("203.10"))
    assert isinstance(facts[0], PaymentCaptured)
    assert facts[0].amount == cny("203.10")
    assert balances(books) == {Account.BANK_CLEARING: 20310, Account.BUYER_FUNDS: -20310}


def test_a_returned_order_is_refunded_out_of_the_merchants_and_the_tax_offices_accounts() -> None:
    payment, facts, asks, books = all_after(PLACED, AUTHORISED, captured(), RELEASED, UNWOUND, REFUNDED)
    assert payment.state is State.REFUNDED
    assert facts[-1] == PaymentRefunded(order_id=ORDER, amount=cny("204.10"), refund_no="R1")
    assert isinstance(asks[-1], Refund)
    assert asks[-1].amount == cny("204.10")
    assert balances(books) == {}


def test_an_expired_hold_is_declined_and_let_go() -> None:
    payment, facts, asks, _ = all_after(PLACED, AUTHORISED, EXPIRED, VOIDED)
    assert payment.state is State.DECLINED
    assert facts[-1] == PaymentDeclined(order_id=ORDER, code="AC04", reason="the authorisation has expired", amount=cny("204.10"))
    assert isinstance(asks[-1], Void)
    assert after(PLACED, AUTHORISED, EXPIRED, VOIDED, UNWOUND).facts == (PaymentVoided(order_id=ORDER),)


BANK_SAYS: dict[str, tuple[Heard, ...]] = {
    "captured": (AUTHORISED, captured()),
    "authorisation declined": (NO_FUNDS,),
    "capture declined": (AUTHORISED, EXPIRED),
}


@pytest.mark.parametrize("says", BANK_SAYS)
@pytest.mark.parametrize("at", [0, 1, 2, 3])
def test_an_order_undone_at_any_moment_ends_with_nothing_taken_and_says_so_once(says: str, at: int) -> None:
    """The bank's answers come in their order; the unwinding comes before, between or after them."""
    answers = list(BANK_SAYS[says])
    heard: list[Heard] = [PLACED]
    payment = follow(None, PLACED).payment
    facts: list[PaymentsEvent] = []
    asks: list[Ask] = list(follow(None, PLACED).asks)
    at = min(at, len(answers))
    waiting: list[Heard] = [*answers[:at], UNWOUND, *answers[at:]]
    while waiting:
        one = waiting.pop(0)
        if one in answers and not _may_answer(one, asks):
            continue
        decision = follow(payment, one)
        heard.append(one)
        payment = decision.payment
        facts += decision.facts
        asks += decision.asks
        waiting += [VOIDED for a in decision.asks if isinstance(a, Void)]
        waiting += [REFUNDED for a in decision.asks if isinstance(a, Refund)]
    ends = [f for f in facts if isinstance(f, PaymentVoided | PaymentRefunded)]
    assert payment.state in {State.VOIDED, State.REFUNDED}, heard
    assert [type(f) for f in ends] == [PaymentRefunded if payment.captured else PaymentVoided]
    assert payment.refunded == payment.captured


def _may_answer(answer: Heard, asks: list[Ask]) -> bool:
    """The bank answers only what it was asked."""
    asked = {type(ask) for ask in asks}
    return Capture in asked if isinstance(answer, Captured | CaptureDeclined) else Authorise in asked


def test_release_and_unwinding_in_either_order_leave_the_books_even() -> None:
    for first, second in ((RELEASED, UNWOUND), (UNWOUND, RELEASED)):
        payment, _, _, books = all_after(PLACED, AUTHORISED, captured(), first, second, REFUNDED)
        assert payment.state is State.REFUNDED
        assert balances(books) == {}


def test_an_unknown_outcome_is_never_taken_for_a_failed_one() -> None:
    for waiting in ((PLACED, UNWOUND), (PLACED, AUTHORISED, UNWOUND)):
        decision = after(*waiting)
        assert decision.payment.unwinding
        assert (decision.facts, decision.asks) == ((), ())


def test_the_keys_of_what_is_asked_never_change() -> None:
    _, _, asks, _ = all_after(PLACED, AUTHORISED, captured(), UNWOUND)
    assert [a.intent_id for a in asks] == [uuid5(ORDER, kind) for kind in ("authorise", "capture", "refund")]
    assert Void(order_id=ORDER, authorisation_no="A1").intent_id == uuid5(ORDER, "void")
    again = Authorise.model_validate_json(asks[0].model_dump_json())
    assert again == asks[0]


@given(
    steps=st.lists(st.sampled_from(HEARD), max_size=25),
    took=st.integers(min_value=1, max_value=50_000),
    tax=st.integers(min_value=0, max_value=20_410),
)
def test_whatever_comes_the_books_balance_and_no_more_is_refunded_than_captured(steps: list[Heard], took: int, tax: int) -> None:
    payment: Payment | None = None
    books: list[Entry] = []
    asked: list[UUID] = []
    for heard in (placed(tax=f"{tax / 100:.2f}") if s is PLACED else s for s in steps):
        one = captured(f"{took / 100:.2f}") if isinstance(heard, Captured) else heard
        try:
            decision = follow(payment, one)
        except IllegalTransition:
            continue
        payment = decision.payment
        asked += [ask.intent_id for ask in decision.asks]
        books += [e for m in decision.movements for e in ledger.entries(uuid4(), ORDER, m)]
        assert sum(e.amount_minor for e in books) == 0
        given_back = -sum(e.amount_minor for e in books if e.account is Account.BANK_CLEARING and e.amount_minor < 0)
        assert given_back in {0, payment.captured.minor if payment.captured else 0}
        owed = balances(books).get(Account.BUYER_FUNDS, 0)
        holds = payment.state in {State.CAPTURED, State.REFUNDING}
        assert owed == (-payment.captured.minor if holds and payment.captured else 0)
        assert balances(books).get(Account.BANK_CLEARING, 0) >= 0
    assert len(asked) == len(set(asked)), "each thing is asked of the bank once"


def balances(books: list[Entry]) -> dict[Account, int]:
    totals: dict[Account, int] = {}
    for entry in books:
        totals[entry.account] = totals.get(entry.account, 0) + entry.amount_minor
    return {account: minor for account, minor in totals.items() if minor}


@pytest.mark.parametrize(
    ("took", "tax", "merchant_part", "tax_part"),
    [
        ("204.10", "12.10", "192.00", "12.10"),
        ("204.10", "0", "204.10", "0"),
        ("10.00", "12.10", "0", "10.00"),
    ],
)
def test_the_tax_comes_first_and_the_parts_are_the_whole(took: str, tax: str, merchant_part: str, tax_part: str) -> None:
    assert ledger.shares(cny(took), cny(tax)) == (cny(merchant_part), cny(tax_part))
    moved = ledger.settle(cny(took), cny(tax), "M")
    assert sum(m.amount.minor for m in moved) == cny(took).minor


def test_a_movement_is_more_than_nothing_and_booking_it_twice_gives_the_same_rows() -> None:
    with pytest.raises(ValueError, match="more than none"):
        ledger.capture(cny("0"))
    cause = uuid4()
    (movement,) = ledger.capture(cny("1"))
    assert ledger.entries(cause, ORDER, movement) == ledger.entries(cause, ORDER, movement)
