"""The bank's decisions about single items, over the rows of one bulk; no input or output."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final

import orjson

from sandbox.documents import PaymentDocument
from shared.clock import BEIJING
from shared.money import Money

Item = Mapping[str, Any]
BankAnswer = dict[str, Any]

OTHER_PAYER: Final = {"name": "测试代付人", "id_type": "1", "id_number": "440524188001010014"}
"""Nobody: the number has a right check digit and a birth date of 1880."""

TOKENS: Final = frozenset(
    {
        "tok_ok",
        "tok_declined",
        "tok_expired",
        "tok_unknown",
        "tok_unknown_lost",
        "tok_hangup",
        "tok_slow",
        "tok_flaky",
        "tok_other_payer",
        "tok_short",
        "tok_refund_flaky",
        "tok_forgotten",
        "tok_refund_declined",
        "tok_poison",
        "tok_swapped",
        "tok_null",
        "tok_busy",
        "tok_hang",
    }
)


@dataclass(slots=True)
class Authorisation:
    number: str
    reference: str
    minor: int
    currency: str
    token: str
    payer: bytes
    enterprise: str
    state: str


@dataclass(slots=True)
class Operation:
    key: str
    kind: str
    fingerprint: bytes
    item: bytes
    state: str
    answer: BankAnswer | None
    due: float | None


@dataclass(slots=True)
class CapturedPayment:
    number: str
    authorisation_no: str
    reference: str
    minor: int
    currency: str
    refunded_minor: int
    declined: int = 0


@dataclass(slots=True)
class BulkLedger:
    """The rows of one bulk: read at its start, changed in memory, written back together."""

    now: float
    operations: dict[str, Operation]
    authorisations: dict[str, Authorisation]
    payments: dict[str, CapturedPayment]
    filed: frozenset[str]
    """The numbers of the authorisations that the file had at the start."""
    movements: list[tuple[str, str, str, int, str, float]] = field(default_factory=list)
    notices: list[bytes] = field(default_factory=list)
    touched: set[str] = field(default_factory=set)
    refunds: list[tuple[str, str, str, str, int, str, float]] = field(default_factory=list)
    line: str = ""
    """How the answer to the bulk is lost on its way; empty where it arrives."""

    def write(self, operation: Operation) -> None:
        self.operations[operation.key] = operation
        self.touched.add(operation.key)

    def move(self, kind: str, reference: str, number: str, amount: Money) -> None:
        """Add a line to the statement; `number` is the payment's, or the transfer's own."""
        self.movements.append((kind, reference, number, amount.minor, amount.currency, self.now))


def _authorise(ledger: BulkLedger, item: Item) -> BankAnswer:
    amount = Money.of(item["amount"], item["currency"])
    token = item["token"]
    state, code, reason = "authorised", None, None
    if token not in TOKENS:
        state, code, reason = "declined", "AC01", "no such account"
    elif token == "tok_declined":
        state, code, reason = "declined", "AM04", "insufficient funds"
    number = "A" + number_of(item["key"])
    ledger.authorisations[number] = Authorisation(
        number,
        item["reference"],
        amount.minor,
        amount.currency,
        token,
        orjson.dumps(item["payer"]),
        item["enterprise_code"],
        state,
    )
    hold = {"authorisation_no": number, "amount": str(amount), "currency": amount.currency}
    granted = hold if state == "authorised" else {}
    return answer_to(item, state, code=code, reason=reason, **granted)


def capture(ledger: BulkLedger, item: Item) -> BankAnswer:
    authorisation = ledger.authorisations.get(item["authorisation_no"])
    amount = Money.of(item["amount"], item["currency"])
    if refusal := _capture_refusal(authorisation, item, amount):
        return answer_to(item, "declined", code=refusal[0], reason=refusal[1])
    assert authorisation is not None
    if authorisation.token == "tok_short":
        amount = Money(max(amount.minor - Money.of("1", amount.currency).minor, 0), amount.currency)
    is_other_payer = authorisation.token == "tok_other_payer"
    payer = OTHER_PAYER if is_other_payer else orjson.loads(authorisation.payer)
    number = _enter_payment(ledger, authorisation, item, amount, payer)
    return answer_to(
        item,
        "captured",
        payment_no=number,
        amount=str(amount),
        currency=amount.currency,
        paid_at=china_time(ledger.now),
        enterprise_code=authorisation.enterprise,
        payer=payer,
    )


def _enter_payment(
    ledger: BulkLedger,
    authorisation: Authorisation,
    item: Item,
    amount: Money,
    payer: Mapping[str, str],
) -> str:
    """Enter a captured payment and its document (411); return its number."""
    number = "P" + number_of(item["key"])
    authorisation.state = "captured"
    ledger.payments[number] = CapturedPayment(
        number, authorisation.number, item["reference"], amount.minor, amount.currency, 0
    )
    ledger.move("capture", item["reference"], number, amount)
    document = PaymentDocument(
        item["reference"],
        number,
        str(amount),
        amount.currency,
        authorisation.enterprise,
        payer["id_number"],
    )
    ledger.notices.append(orjson.dumps(document))
    return number


def _capture_refusal(
    authorisation: Authorisation | None, item: Item, amount: Money
) -> tuple[str, str] | None:
    if authorisation is None or authorisation.reference != item["reference"]:
        return "NOOR", "no such authorisation for this reference"
    if authorisation.state not in {"authorised", "capturing"}:
        return "AM05", f"the authorisation is {authorisation.state}"
    if authorisation.currency != amount.currency or not 0 < amount.minor <= authorisation.minor:
        limit = f"{Money(authorisation.minor, authorisation.currency)} {authorisation.currency}"
        return "AM09", f"the authorisation is for {limit}"
    if authorisation.token == "tok_expired":
        return "AC04", "the authorisation has expired"
    return None


def _void(ledger: BulkLedger, item: Item) -> BankAnswer:
    authorisation = ledger.authorisations.get(item["authorisation_no"])
    if authorisation is None or authorisation.reference != item["reference"]:
        return answer_to(
            item, "declined", code="NOOR", reason="no such authorisation for this reference"
        )
    if authorisation.state == "capturing":
        return answer_to(item, "error", code="500", reason="a capture is on its way, try again")
    if authorisation.state in {"captured", "declined"}:
        return answer_to(
            item, "declined", code="AM05", reason=f"the authorisation is {authorisation.state}"
        )
    if authorisation.token == "tok_expired":
        return answer_to(item, "declined", code="AC04", reason="the authorisation has expired")
    authorisation.state = "voided"
    return answer_to(item, "voided", authorisation_no=authorisation.number)


def _refund(ledger: BulkLedger, item: Item) -> BankAnswer:
    payment = ledger.payments.get(item["payment_no"])
    amount = Money.of(item["amount"], item["currency"])
    if payment is None or payment.reference != item["reference"]:
        return answer_to(item, "declined", code="NOOR", reason="no such payment for this reference")
    left = payment.minor - payment.refunded_minor
    if payment.currency != amount.currency or not 0 < amount.minor <= left:
        return answer_to(
            item,
            "declined",
            code="AM09",
            reason=f"{Money(left, payment.currency)} {payment.currency} are left to refund",
        )
    if token_of(ledger, "refund", item) == "tok_refund_declined" and not payment.declined:
        payment.declined = 1
        return answer_to(
            item, "declined", code="AB05", reason="the buyer's bank did not answer in time"
        )
    payment.refunded_minor += amount.minor
    number = "R" + number_of(item["key"])
    numbers = (number, item["key"], item["reference"], payment.number)
    ledger.refunds.append((*numbers, amount.minor, amount.currency, ledger.now))
    ledger.move("refund", item["reference"], payment.number, amount)
    return answer_to(
        item,
        "refunded",
        payment_no=payment.number,
        refund_no=number,
        amount=str(amount),
        currency=amount.currency,
        paid_at=china_time(ledger.now),
    )


def _transfer(ledger: BulkLedger, item: Item) -> BankAnswer:
    """Pay customs from the enterprise's own account; the statement has the transfer's number."""
    amount = Money.of(item["amount"], item["currency"])
    number = "T" + number_of(item["key"])
    ledger.move("transfer", item["reference"], number, amount)
    return answer_to(
        item,
        "transferred",
        transfer_no=number,
        payment_book=item["payment_book"],
        amount=str(amount),
        currency=amount.currency,
        paid_at=china_time(ledger.now),
    )


DO: Final[dict[str, Callable[[BulkLedger, Item], BankAnswer]]] = {
    "authorise": _authorise,
    "capture": capture,
    "void": _void,
    "refund": _refund,
    "transfer": _transfer,
}


def token_of(ledger: BulkLedger, kind: str, item: Item) -> str:
    number = item.get("authorisation_no")
    if kind == "refund" and (payment := ledger.payments.get(item["payment_no"])):
        number = payment.authorisation_no
    authorisation = ledger.authorisations.get(number) if isinstance(number, str) else None
    return authorisation.token if authorisation else ""


def recorded_answer(key: str, operation: Operation | None) -> BankAnswer:
    if operation is None or operation.state in {"lost", "retry"}:
        return {"key": key, "status": "unknown_key"}
    return operation.answer or {"key": key, "status": "pending"}


def answer_to(item: Item, status: str, **more: Any) -> BankAnswer:
    return {"key": item["key"], "reference": item["reference"], "status": status, **more}


@lru_cache(maxsize=8)
def china_time(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).astimezone(BEIJING).isoformat(timespec="milliseconds")


def number_of(key: str) -> str:
    return blake2b(key.encode(), digest_size=9).hexdigest().upper()
