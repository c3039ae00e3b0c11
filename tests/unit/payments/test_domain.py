"""What may happen to a payment: every pair, every order of arrival, the laws of its books."""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from itertools import product
from uuid import UUID, uuid4, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.payments.domain import ledger
from services.payments.domain.bank import (
    AuthorisationDeclined,
    Authorise,
    Authorised,
    BankCommand,
    Capture,
    Captured,
    CaptureDeclined,
    ExcessRefunded,
    HoldGone,
    Refund,
    Refunded,
    Void,
    Voided,
)
from services.payments.domain.decisions import Trigger, decide
from services.payments.domain.ledger import Account, JournalEntry
from services.payments.domain.payment import Payment, PaymentDecision, PaymentTerms
from services.payments.domain.payment_returns import refund_excess
from services.payments.domain.payment_states import PAYMENT, UNWINDING, PaymentState
from services.payments.domain.returns import refundable, tax_still_withheld
from shared.events.customs import GoodsReleased, ReturnedLine
from shared.events.orders import OrderPlaced, OrderUnwinding, Party, ReturnAccepted
from shared.events.payments import (
    MerchantSettled,
    PaymentCaptured,
    PaymentDeclined,
    PaymentRefunded,
    PaymentsEvent,
    PaymentVoided,
    ReturnRefunded,
)
from shared.events.persons import SealedConsignee, SealedPerson
from shared.money import Money
from shared.transitions import IllegalTransition

ORDER = UUID("7b1c0d5e-0000-4000-8000-000000000001")
PERSON = UUID("7b1c0d5e-0000-4000-8000-000000000002")


def cny(amount: str) -> Money:
    return Money.of(amount, "CNY")


def placed(amount: str = "204.10", tax: str = "12.10") -> OrderPlaced:
    person = SealedPerson(
        person_ref=PERSON, sealed=b"sealed", id_type="1", name_digest="n", id_digest="i"
    )
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
UNWOUND = OrderUnwinding(order_id=ORDER, towards="rejected")


def line(
    number: int = 1,
    *,
    now: str = "2",
    before: str = "0",
    of: str = "2",
    total: str = "172.00",
    tax: str = "12.10",
) -> ReturnedLine:
    return ReturnedLine(
        line_no=number,
        quantity=Decimal(now),
        returned_before=Decimal(before),
        ordered=Decimal(of),
        total=cny(total),
        tax=cny(tax),
    )


def back(
    *lines: ReturnedLine, number: int = 1, in_time: bool = True, refund: bool = True
) -> ReturnAccepted:
    whole = all(x.returned == x.ordered for x in lines)
    return ReturnAccepted(
        order_id=ORDER,
        return_no=number,
        in_time=in_time,
        refund_goods=refund,
        whole=whole,
        lines=lines,
    )


BACK = back(line())
RELEASED = GoodsReleased(order_id=ORDER, cop_no="C1", status="800", info="released")
AUTHORISED = Authorised(ORDER, "A1")
NO_FUNDS = AuthorisationDeclined(ORDER, "AM04", "insufficient funds")
EXPIRED = CaptureDeclined(ORDER, "AC04", "the authorisation has expired")
VOIDED = Voided(ORDER)
GONE = HoldGone(ORDER)
REFUNDED = Refunded(ORDER, "R1")


def captured(amount: str = "204.10") -> Captured:
    return Captured(
        ORDER, cny(amount), "P1", "440316T004", PERSON, "n", datetime(2026, 11, 23, tzinfo=UTC)
    )


HEARD: tuple[Trigger, ...] = (
    PLACED,
    UNWOUND,
    BACK,
    RELEASED,
    AUTHORISED,
    NO_FUNDS,
    captured(),
    EXPIRED,
    VOIDED,
    GONE,
    REFUNDED,
)


def after(*heard: Trigger) -> PaymentDecision:
    """The last decision of a payment that heard all this."""
    decision = PaymentDecision(Payment(ORDER))
    for one in heard:
        decision = decide(decision.payment, one)
    return decision


def all_after(
    *heard: Trigger,
) -> tuple[Payment, list[PaymentsEvent], list[BankCommand], list[JournalEntry]]:
    """Everything that followed from the whole way."""
    payment: Payment | None = None
    facts: list[PaymentsEvent] = []
    asks: list[BankCommand] = []
    books: list[JournalEntry] = []
    for one in heard:
        decision = decide(payment, one)
        payment = decision.payment
        facts += decision.facts
        asks += decision.asks
        books += [e for m in decision.movements for e in ledger.entries(uuid4(), ORDER, m)]
    assert payment is not None
    return payment, facts, asks, books


WAYS: dict[tuple[PaymentState, bool], tuple[Trigger, ...]] = {
    (PaymentState.UNASKED, False): (),
    (PaymentState.AUTHORISING, False): (PLACED,),
    (PaymentState.AUTHORISED, False): (PLACED, AUTHORISED),
    (PaymentState.CAPTURED, False): (PLACED, AUTHORISED, captured()),
    (PaymentState.SETTLED, False): (PLACED, AUTHORISED, captured(), RELEASED),
    (PaymentState.RETURNING, False): (PLACED, AUTHORISED, captured(), RELEASED, BACK),
    (PaymentState.DECLINED, False): (PLACED, NO_FUNDS),
    (PaymentState.VOIDING, False): (PLACED, AUTHORISED, EXPIRED),
    (PaymentState.AUTHORISING, True): (PLACED, UNWOUND),
    (PaymentState.AUTHORISED, True): (PLACED, AUTHORISED, UNWOUND),
    (PaymentState.VOIDING, True): (PLACED, UNWOUND, AUTHORISED),
    (PaymentState.VOIDED, True): (UNWOUND,),
    (PaymentState.GIVING_BACK, False): (PLACED, AUTHORISED, EXPIRED, captured()),
    (PaymentState.GIVING_BACK, True): (PLACED, AUTHORISED, EXPIRED, captured(), UNWOUND),
    (PaymentState.REFUNDING, True): (PLACED, AUTHORISED, captured(), UNWOUND),
    (PaymentState.REFUNDED, True): (PLACED, AUTHORISED, captured(), UNWOUND, REFUNDED),
}


def pairs() -> Iterator[tuple[PaymentState, bool, Trigger]]:
    for (state, unwinding), heard in product(WAYS, HEARD):
        yield state, unwinding, heard


@pytest.mark.parametrize(
    ("state", "unwinding", "heard"),
    list(pairs()),
    ids=lambda v: getattr(type(v), "__name__", str(v)),
)
def test_each_pair_goes_where_the_table_says_or_is_refused_by_name(
    state: PaymentState, unwinding: bool, heard: Trigger
) -> None:
    payment = after(*WAYS[state, unwinding]).payment
    assert (payment.state, payment.unwinding) == (state, unwinding)
    table = UNWINDING if unwinding else PAYMENT
    if not table.allows(state, heard):
        with pytest.raises(IllegalTransition, match=type(heard).__name__):
            decide(payment, heard)
        return
    decision = decide(payment, heard)
    expected = table.next(state, heard)
    if any(
        isinstance(fact, ReturnRefunded) for fact in decision.facts
    ):  # its own fact is folded as well
        expected = table.next(expected, decision.facts[-1])
    assert decision.payment.state is expected
    assert decision.payment.version == payment.version + len(decision.facts)
    if decision.payment == payment:
        assert decision == PaymentDecision(payment), "what changes nothing says and asks nothing"


def test_no_row_of_the_tables_stands_for_a_state_that_cannot_be_reached() -> None:
    assert {(state, False) for state, _, _ in PAYMENT} <= WAYS.keys()
    assert {(state, True) for state, _, _ in UNWINDING} <= WAYS.keys()


def test_a_paid_and_released_order_settles_the_merchant_and_the_tax() -> None:
    payment, facts, asks, books = all_after(PLACED, AUTHORISED, captured(), RELEASED, RELEASED)
    assert [type(f) for f in facts] == [PaymentCaptured, MerchantSettled]
    assert [type(a) for a in asks] == [Authorise, Capture]
    assert payment.version == 2
    assert facts[1] == MerchantSettled(
        order_id=ORDER,
        merchant_code="46016602EV",
        merchant_amount=cny("192.00"),
        tax_amount=cny("12.10"),
    )
    assert balances(books) == {
        Account.BANK_CLEARING: 20410,
        Account.MERCHANT_PAYABLE: -19200,
        Account.TAX_PAYABLE: -1210,
    }


def test_an_undone_order_never_heard_of_is_a_tombstone_its_order_does_not_wake() -> None:
    payment, facts, asks, books = all_after(UNWOUND, PLACED, UNWOUND)
    assert payment == Payment(ORDER, version=1, state=PaymentState.VOIDED, unwinding=True)
    assert (facts, asks, books) == ([PaymentVoided(order_id=ORDER)], [], [])


def test_what_the_bank_took_is_booked_and_announced_even_if_it_is_not_what_was_asked() -> None:
    _, facts, _, books = all_after(PLACED, AUTHORISED, captured("203.10"))
    assert isinstance(facts[0], PaymentCaptured)
    assert facts[0].amount == cny("203.10")
    assert balances(books) == {Account.BANK_CLEARING: 20310, Account.BUYER_FUNDS: -20310}


@pytest.mark.parametrize(
    "way", [(RELEASED, BACK), (BACK, RELEASED)], ids=("release first", "return first")
)
def test_goods_back_in_time_are_refunded_out_of_the_merchants_and_the_tax_offices_accounts(
    way: tuple[Trigger, ...],
) -> None:
    payment, facts, asks, books = all_after(PLACED, AUTHORISED, captured(), *way, REFUNDED)
    assert (payment.state, payment.refunded, payment.returning) == (
        PaymentState.SETTLED,
        cny("204.10"),
        None,
    )
    assert [type(f) for f in facts] == [PaymentCaptured, MerchantSettled, ReturnRefunded]
    assert facts[-1] == ReturnRefunded(
        order_id=ORDER,
        return_no=1,
        amount=cny("204.10"),
        goods_amount=cny("192.00"),
        tax_amount=cny("12.10"),
        refund_no="R1",
    )
    assert isinstance(asks[-1], Refund)
    assert asks[-1].amount == cny("204.10")
    # What is owed to customs for them is taken back where tax says so.
    assert balances(books) == {Account.TAX_PAYABLE: -1210, Account.TAX_SUSPENSE: 1210}


def test_goods_that_came_late_leave_the_tax_where_it_is() -> None:
    late = back(line(), in_time=False)
    payment, facts, _, books = all_after(PLACED, AUTHORISED, captured(), RELEASED, late, REFUNDED)
    assert (payment.state, payment.refunded) == (PaymentState.SETTLED, cny("192.00"))
    assert facts[-1] == ReturnRefunded(
        order_id=ORDER,
        return_no=1,
        amount=cny("192.00"),
        goods_amount=cny("192.00"),
        tax_amount=cny("0"),
        refund_no="R1",
    )
    assert balances(books) == {Account.BANK_CLEARING: 1210, Account.TAX_PAYABLE: -1210}


def test_goods_that_came_late_and_the_merchant_keeps_the_price_ask_nothing_of_the_bank() -> None:
    late = back(line(), in_time=False, refund=False)
    payment, facts, asks, books = all_after(PLACED, AUTHORISED, captured(), RELEASED, late)
    assert (payment.state, payment.refunded, payment.returning) == (
        PaymentState.SETTLED,
        None,
        None,
    )
    assert isinstance(facts[-1], ReturnRefunded)
    assert (facts[-1].amount, facts[-1].refund_no) == (cny("0"), None)
    assert [type(a) for a in asks] == [Authorise, Capture]
    assert balances(books)[Account.BANK_CLEARING] == 20410


@st.composite
def orders_in_parts(
    draw: st.DrawFn,
) -> tuple[int, int, list[tuple[int, int, int]], list[list[int]]]:
    """What was captured and withheld, the lines as (price, tax, quantity), and how many of each come back by each return."""
    lines = draw(
        st.lists(
            st.tuples(st.integers(0, 50_000), st.integers(0, 9_000), st.integers(1, 5)),
            min_size=1,
            max_size=4,
        )
    )
    taken = draw(st.integers(1, 300_000))
    cuts = [sorted(draw(st.lists(st.integers(0, q), max_size=3))) for _, _, q in lines]
    steps = max((len(c) for c in cuts), default=0) + 1
    parts = []
    for n in range(steps):
        now = []
        for (_, _, q), c in zip(lines, cuts, strict=True):
            ends = [0, *c, *([q] * (steps - len(c)))]
            now.append(ends[n + 1] - ends[n])
        parts.append(now)
    return taken, draw(st.integers(0, 60_000)), lines, parts


@given(orders_in_parts())
def test_the_returns_of_an_order_sum_to_what_was_captured_in_however_many_parts(
    drawn: tuple[int, int, list[tuple[int, int, int]], list[list[int]]],
) -> None:
    taken, tax, lines, parts = drawn
    captured_, withheld = Money(taken, "CNY"), Money(tax, "CNY")
    before = [0] * len(lines)
    goods_back, tax_back = Money.zero("CNY"), Money.zero("CNY")
    for now in parts:
        told = [
            ReturnedLine(line_no=i, quantity=Decimal(n), returned_before=Decimal(b), ordered=Decimal(q), total=Money(p, "CNY"),
                         tax=Money(t, "CNY"))
            for i, ((p, t, q), n, b) in enumerate(zip(lines, now, before, strict=True), 1)
        ]  # fmt: skip
        goods, of_tax = refundable(captured_, withheld, told)
        assert min(goods.minor, of_tax.minor) >= 0
        goods_back, tax_back = goods_back + goods, tax_back + of_tax
        before = [b + n for b, n in zip(before, now, strict=True)]
    assert (goods_back, tax_back) == ledger.shares(captured_, withheld)


@given(orders_in_parts(), st.data())
def test_a_piece_gets_the_tax_that_is_still_withheld_on_what_is_still_sold(
    drawn: tuple[int, int, list[tuple[int, int, int]], list[list[int]]], data: st.DataObject
) -> None:
    """Between the returns customs bills less, and the difference goes back at once."""
    _, tax, lines, parts = drawn
    left = Money(tax, "CNY")
    before = [0] * len(lines)
    for now in parts:
        left -= Money(data.draw(st.integers(0, left.minor)), "CNY")
        told = [
            ReturnedLine(line_no=i, quantity=Decimal(n), returned_before=Decimal(b), ordered=Decimal(q), total=Money(p, "CNY"),
                         tax=Money(t, "CNY"))
            for i, ((p, t, q), n, b) in enumerate(zip(lines, now, before, strict=True), 1)
        ]  # fmt: skip
        weight = [Fraction((t if any(x for _, x, _ in lines) else p), q) for p, t, q in lines]
        sold = sum(w * (q - b) for w, (_, _, q), b in zip(weight, lines, before, strict=True))
        mine = sum(w * n for w, n in zip(weight, now, strict=True))
        share = tax_still_withheld(left, told)
        assert 0 <= share.minor <= left.minor
        if sold:
            assert abs(share.minor - left.minor * mine / sold) <= len(lines)
        left -= share
        before = [b + n for b, n in zip(before, now, strict=True)]
    assert left.minor == 0 or not sold


def test_after_a_lower_bill_a_later_return_gets_the_tax_that_is_left_on_what_is_left() -> None:
    """10.00 withheld on 4 pieces, 2 of them back: 5.00. Customs bills 4.00 on the rest: 1.00. 1 more back: 2.00."""
    terms = PaymentTerms(cny("110.00"), cny("10.00"), "M", "E")
    payment = Payment(
        ORDER,
        state=PaymentState.SETTLED,
        terms=terms,
        authorisation_no="A",
        payment_no="P",
        captured=cny("110.00"),
    )

    def returned(payment: Payment, number: int, pieces: int, before: int) -> tuple[Payment, Money]:
        piece = ReturnedLine(
            line_no=1,
            quantity=Decimal(pieces),
            returned_before=Decimal(before),
            ordered=Decimal(4),
            total=cny("100.00"),
            tax=cny("10.00"),
        )
        asked = decide(payment, ReturnAccepted(
            order_id=ORDER, return_no=number, in_time=True, refund_goods=True, whole=False, lines=(piece,)
        )).payment  # fmt: skip
        assert asked.returning is not None
        return decide(asked, Refunded(ORDER, f"R{number}")).payment, asked.returning.tax

    payment, first = returned(payment, 1, 2, 0)
    payment = refund_excess(payment, cny("1.00"), 1).payment
    payment = decide(payment, ExcessRefunded(ORDER, cny("1.00"), "X1", 1)).payment
    payment, second = returned(payment, 2, 1, 2)
    payment, third = returned(payment, 3, 1, 3)
    assert (first, second, third) == (cny("5.00"), cny("2.00"), cny("2.00"))
    assert payment.refunded == payment.captured - cny("1.00") if payment.captured else False


def test_each_return_is_asked_of_the_bank_under_a_key_of_its_own_and_booked_once() -> None:
    first, second = back(line(now="1")), back(line(now="1", before="1"), number=2)
    payment, _, asks, books = all_after(
        PLACED, AUTHORISED, captured(), RELEASED, first, REFUNDED, second, REFUNDED
    )
    refunds = [a for a in asks if isinstance(a, Refund)]
    assert [a.amount for a in refunds] == [cny("102.05"), cny("102.05")]
    assert len({a.intent_id for a in refunds}) == 2
    assert payment.refunded == payment.captured
    assert balances(books) == {Account.TAX_PAYABLE: -1210, Account.TAX_SUSPENSE: 1210}
    keys = [(e.purpose, e.part, e.seq) for e in books]
    assert len(keys) == len(set(keys)), "each purpose once per return"


@pytest.mark.parametrize("answer", [VOIDED, GONE], ids=["voided", "gone"])
def test_an_expired_hold_is_declined_and_let_go(answer: Trigger) -> None:
    payment, facts, asks, _ = all_after(PLACED, AUTHORISED, EXPIRED, answer)
    assert payment.state is PaymentState.DECLINED
    assert facts[-1] == PaymentDeclined(
        order_id=ORDER, code="AC04", reason="the authorisation has expired", amount=cny("204.10")
    )
    assert isinstance(asks[-1], Void)
    for way in ((EXPIRED, answer, UNWOUND), (EXPIRED, UNWOUND, answer), (UNWOUND, EXPIRED, answer)):
        decision = after(PLACED, AUTHORISED, *way)
        assert decision.payment.state is PaymentState.VOIDED
        assert decision.facts == (PaymentVoided(order_id=ORDER),)


BANK_SAYS: dict[str, tuple[Trigger, ...]] = {
    "captured": (AUTHORISED, captured()),
    "authorisation declined": (NO_FUNDS,),
    "capture declined": (AUTHORISED, EXPIRED),
}


@pytest.mark.parametrize("says", BANK_SAYS)
@pytest.mark.parametrize("at", [0, 1, 2, 3])
def test_an_order_undone_at_any_moment_ends_with_nothing_taken_and_says_so_once(
    says: str, at: int
) -> None:
    """The bank's answers come in their order; the unwinding comes before, between or after them."""
    answers = list(BANK_SAYS[says])
    heard: list[Trigger] = [PLACED]
    payment = decide(None, PLACED).payment
    facts: list[PaymentsEvent] = []
    asks: list[BankCommand] = list(decide(None, PLACED).asks)
    at = min(at, len(answers))
    waiting: list[Trigger] = [*answers[:at], UNWOUND, *answers[at:]]
    while waiting:
        one = waiting.pop(0)
        if one in answers and not _may_answer(one, asks):
            continue
        decision = decide(payment, one)
        heard.append(one)
        payment = decision.payment
        facts += decision.facts
        asks += decision.asks
        waiting += [VOIDED for a in decision.asks if isinstance(a, Void)]
        waiting += [REFUNDED for a in decision.asks if isinstance(a, Refund)]
    ends = [f for f in facts if isinstance(f, PaymentVoided | PaymentRefunded)]
    assert payment.state in {PaymentState.VOIDED, PaymentState.REFUNDED}, heard
    assert [type(f) for f in ends] == [PaymentRefunded if payment.captured else PaymentVoided]
    assert payment.refunded == payment.captured


def _may_answer(answer: Trigger, asks: list[BankCommand]) -> bool:
    """The bank answers only what it was asked."""
    asked = {type(ask) for ask in asks}
    return (
        Capture in asked if isinstance(answer, Captured | CaptureDeclined) else Authorise in asked
    )


def test_a_release_heard_of_after_the_unwinding_leaves_the_books_even() -> None:
    payment, _, _, books = all_after(PLACED, AUTHORISED, captured(), UNWOUND, RELEASED, REFUNDED)
    assert payment.state is PaymentState.REFUNDED
    assert balances(books) == {}


def test_an_unknown_outcome_is_never_taken_for_a_failed_one() -> None:
    for waiting in ((PLACED, UNWOUND), (PLACED, AUTHORISED, UNWOUND)):
        decision = after(*waiting)
        assert decision.payment.unwinding
        assert (decision.facts, decision.asks) == ((), ())


def test_the_keys_of_what_is_asked_never_change() -> None:
    _, _, asks, _ = all_after(PLACED, AUTHORISED, captured(), UNWOUND)
    assert [a.intent_id for a in asks] == [
        uuid5(ORDER, kind) for kind in ("authorise", "capture", "refund")
    ]
    assert Void(order_id=ORDER, authorisation_no="A1").intent_id == uuid5(ORDER, "void")
    again = Authorise.model_validate_json(asks[0].model_dump_json())
    assert again == asks[0]


@given(
    steps=st.lists(st.sampled_from(HEARD), max_size=25),
    took=st.integers(min_value=1, max_value=50_000),
    tax=st.integers(min_value=0, max_value=20_410),
)
def test_whatever_comes_the_books_balance_and_no_more_is_refunded_than_captured(
    steps: list[Trigger], took: int, tax: int
) -> None:
    payment: Payment | None = None
    books: list[JournalEntry] = []
    asked: list[UUID] = []
    goods_back = False
    for heard in (placed(tax=f"{tax / 100:.2f}") if s is PLACED else s for s in steps):
        if heard is BACK and goods_back:
            continue  # goods come back once, and orders says so once
        one = captured(f"{took / 100:.2f}") if isinstance(heard, Captured) else heard
        try:
            decision = decide(payment, one)
        except IllegalTransition:
            continue
        payment = decision.payment
        goods_back = goods_back or heard is BACK
        asked += [ask.intent_id for ask in decision.asks]
        books += [e for m in decision.movements for e in ledger.entries(uuid4(), ORDER, m)]
        assert sum(e.amount_minor for e in books) == 0
        given_back = -sum(
            e.amount_minor
            for e in books
            if e.account is Account.BANK_CLEARING and e.amount_minor < 0
        )
        assert given_back == (payment.refunded.minor if payment.refunded else 0)
        assert given_back <= (payment.captured.minor if payment.captured else 0)
        owed = balances(books).get(Account.BUYER_FUNDS, 0)
        holds = payment.state in {
            PaymentState.CAPTURED,
            PaymentState.REFUNDING,
            PaymentState.GIVING_BACK,
        }
        on_the_way = (
            payment.returning.goods.minor + payment.returning.tax.minor if payment.returning else 0
        )
        assert owed == (-payment.captured.minor if holds and payment.captured else -on_the_way)
        assert balances(books).get(Account.BANK_CLEARING, 0) >= 0
    assert len(asked) == len(set(asked)), "each thing is asked of the bank once"


def balances(books: list[JournalEntry]) -> dict[Account, int]:
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
def test_the_tax_comes_first_and_the_parts_are_the_whole(
    took: str, tax: str, merchant_part: str, tax_part: str
) -> None:
    assert ledger.shares(cny(took), cny(tax)) == (cny(merchant_part), cny(tax_part))
    moved = ledger.settle(cny(took), cny(tax), "M")
    assert sum(m.amount.minor for m in moved) == cny(took).minor


def test_a_movement_is_more_than_nothing_and_booking_it_twice_gives_the_same_rows() -> None:
    with pytest.raises(ValueError, match="more than none"):
        ledger.capture(cny("0"))
    cause = uuid4()
    (movement,) = ledger.capture(cny("1"))
    assert ledger.entries(cause, ORDER, movement) == ledger.entries(cause, ORDER, movement)


def test_a_capture_that_was_declined_and_done_is_booked_and_refunded_without_a_fact() -> None:
    payment, facts, asks, books = all_after(PLACED, AUTHORISED, EXPIRED, captured(), REFUNDED)
    assert [type(f) for f in facts] == [PaymentDeclined]
    assert [type(a) for a in asks] == [Authorise, Capture, Void, Refund]
    assert payment.state is PaymentState.DECLINED
    assert payment.refunded == payment.captured
    assert sum(entry.amount_minor for entry in books) == 0
    undone = decide(payment, UNWOUND)
    assert [type(f) for f in undone.facts] == [PaymentVoided]
