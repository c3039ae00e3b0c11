"""The bank's decisions about single items, over the rows a bulk works on; no I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final

import orjson

from sandbox.documents import Payment
from shared.clock import BEIJING
from shared.money import Money, MoneyError

Item = Mapping[str, Any]
Answer = dict[str, Any]

OTHER_PAYER: Final = {"name": "测试代付人", "id_type": "1", "id_number": "440524188001010014"}
"""Nobody: a number with a right check digit and a birth date of 1880."""

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

_REQUIRED: Final = {
    "authorise": ("key", "reference", "amount", "currency", "token", "enterprise_code"),
    "capture": ("key", "reference", "authorisation_no", "amount", "currency"),
    "void": ("key", "reference", "authorisation_no"),
    "refund": ("key", "reference", "payment_no", "amount", "currency"),
    "transfer": ("key", "reference", "payment_book", "amount", "currency"),
}


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
    answer: Answer | None
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
class Desk:
    """What one bulk works on: rows read at its start, changed in memory, written back together."""

    now: float
    operations: dict[str, Operation]
    authorisations: dict[str, Authorisation]
    payments: dict[str, CapturedPayment]
    filed: frozenset[str]
    """The numbers of the authorisations that were there at its start."""
    movements: list[tuple[str, str, str, int, str, float]] = field(default_factory=list)
    notices: list[bytes] = field(default_factory=list)
    touched: set[str] = field(default_factory=set)
    refunds: list[tuple[str, str, str, str, int, str, float]] = field(default_factory=list)
    line: str = ""


class Unable(Exception):
    """The bank cannot bear an item: it fails on the whole bulk, and does nothing."""


def _authorise(desk: Desk, item: Item) -> Answer:
    amount = Money.of(item["amount"], item["currency"])
    token = item["token"]
    state, code, reason = "authorised", None, None
    if token not in TOKENS:
        state, code, reason = "declined", "AC01", "no such account"
    elif token == "tok_declined":
        state, code, reason = "declined", "AM04", "insufficient funds"
    number = "A" + _number_of(item["key"])
    desk.authorisations[number] = Authorisation(
        number,
        item["reference"],
        amount.minor,
        amount.currency,
        token,
        orjson.dumps(item["payer"]),
        item["enterprise_code"],
        state,
    )
    held = (
        {"authorisation_no": number, "amount": str(amount), "currency": amount.currency}
        if state == "authorised"
        else {}
    )
    return say(item, state, code=code, reason=reason, **held)


def capture(desk: Desk, item: Item) -> Answer:
    authorisation = desk.authorisations.get(item["authorisation_no"])
    amount = Money.of(item["amount"], item["currency"])
    refusal = _why_not_captured(authorisation, item, amount)
    if refusal:
        return say(item, "declined", code=refusal[0], reason=refusal[1])
    assert authorisation is not None
    if authorisation.token == "tok_short":
        amount = Money(max(amount.minor - Money.of("1", amount.currency).minor, 0), amount.currency)
    payer = (
        OTHER_PAYER
        if authorisation.token == "tok_other_payer"
        else orjson.loads(authorisation.payer)
    )
    number = "P" + _number_of(item["key"])
    authorisation.state = "captured"
    desk.payments[number] = CapturedPayment(
        number, authorisation.number, item["reference"], amount.minor, amount.currency, 0
    )
    desk.movements.append(
        ("capture", item["reference"], number, amount.minor, amount.currency, desk.now)
    )
    desk.notices.append(
        orjson.dumps(
            Payment(
                item["reference"],
                number,
                str(amount),
                amount.currency,
                authorisation.enterprise,
                payer["id_number"],
            )
        )
    )
    return say(
        item,
        "captured",
        payment_no=number,
        amount=str(amount),
        currency=amount.currency,
        paid_at=china_time(desk.now),
        enterprise_code=authorisation.enterprise,
        payer=payer,
    )


def _why_not_captured(
    authorisation: Authorisation | None, item: Item, amount: Money
) -> tuple[str, str] | None:
    """Reason code and text of a refused capture; None if nothing speaks against it."""
    if authorisation is None or authorisation.reference != item["reference"]:
        return "NOOR", "no such authorisation for this reference"
    if authorisation.state not in {"authorised", "capturing"}:
        return "AM05", f"the authorisation is {authorisation.state}"
    if authorisation.currency != amount.currency or not 0 < amount.minor <= authorisation.minor:
        return (
            "AM09",
            f"the authorisation is for {_of(authorisation)}",
        )
    if authorisation.token == "tok_expired":
        return "AC04", "the authorisation has expired"
    return None


def _of(amount: Authorisation) -> str:
    return f"{Money(amount.minor, amount.currency)} {amount.currency}"


def _void(desk: Desk, item: Item) -> Answer:
    authorisation = desk.authorisations.get(item["authorisation_no"])
    if authorisation is None or authorisation.reference != item["reference"]:
        return say(item, "declined", code="NOOR", reason="no such authorisation for this reference")
    if authorisation.state == "capturing":
        return say(item, "error", code="500", reason="a capture is on its way, try again")
    if authorisation.state in {"captured", "declined"}:
        return say(
            item, "declined", code="AM05", reason=f"the authorisation is {authorisation.state}"
        )
    if authorisation.token == "tok_expired":
        return say(item, "declined", code="AC04", reason="the authorisation has expired")
    authorisation.state = "voided"
    return say(item, "voided", authorisation_no=authorisation.number)


def _refund(desk: Desk, item: Item) -> Answer:
    payment = desk.payments.get(item["payment_no"])
    amount = Money.of(item["amount"], item["currency"])
    if payment is None or payment.reference != item["reference"]:
        return say(item, "declined", code="NOOR", reason="no such payment for this reference")
    left = payment.minor - payment.refunded_minor
    if payment.currency != amount.currency or not 0 < amount.minor <= left:
        return say(
            item,
            "declined",
            code="AM09",
            reason=f"{Money(left, payment.currency)} {payment.currency} are left to refund",
        )
    if token_of(desk, "refund", item) == "tok_refund_declined" and not payment.declined:
        payment.declined = 1
        return say(item, "declined", code="AB05", reason="the buyer's bank did not answer in time")
    payment.refunded_minor += amount.minor
    number = "R" + _number_of(item["key"])
    desk.refunds.append(
        (
            number,
            item["key"],
            item["reference"],
            payment.number,
            amount.minor,
            amount.currency,
            desk.now,
        )
    )
    desk.movements.append(
        ("refund", item["reference"], payment.number, amount.minor, amount.currency, desk.now)
    )
    return say(
        item,
        "refunded",
        payment_no=payment.number,
        refund_no=number,
        amount=str(amount),
        currency=amount.currency,
        paid_at=china_time(desk.now),
    )


def _transfer(desk: Desk, item: Item) -> Answer:
    """Pay customs from the enterprise's own account; the statement names the transfer where it names a payment otherwise."""
    amount = Money.of(item["amount"], item["currency"])
    number = "T" + _number_of(item["key"])
    desk.movements.append(
        ("transfer", item["reference"], number, amount.minor, amount.currency, desk.now)
    )
    return say(
        item, "transferred", transfer_no=number, payment_book=item["payment_book"], amount=str(amount), currency=amount.currency,
        paid_at=china_time(desk.now),
    )  # fmt: skip


DO: Final[dict[str, Callable[[Desk, Item], Answer]]] = {
    "authorise": _authorise,
    "capture": capture,
    "void": _void,
    "refund": _refund,
    "transfer": _transfer,
}


CUTS: Final = {"tok_hangup": "hangup", "tok_null": "null", "tok_hang": "hang"}
"""How the answer to a whole bulk is lost on the way, once per key, though its effects stand."""
OTHER_REFERENCE: Final = "5f0c2c1e-0000-4000-8000-000000000000"


def withheld(desk: Desk, kind: str, item: Item, answer: Answer) -> Answer:
    """The first answer of tokens whose answers get lost on the way, though the effect stands."""
    if kind != "capture":
        return answer
    token = token_of(desk, kind, item)
    if token == "tok_unknown":
        return say(item, "pending")
    desk.line = CUTS.get(token, desk.line)
    return answer


def swapped(answer: Answer) -> Answer:
    """The answer as the bank gives it by mistake: with another payment's reference and number."""
    return answer | {"reference": OTHER_REFERENCE, "payment_no": "P" + _number_of(OTHER_REFERENCE)}


def turned_away(desk: Desk, kind: str, items: list[Item] | tuple[Item, ...]) -> list[str]:
    """The keys for which a bulk is turned away as too much just now, once each. Raises Unable for an item nobody can bear."""
    if any(item.get("token") == "tok_poison" for item in items):
        raise Unable("an item of the bulk")
    if kind != "capture":
        return []
    return [
        item["key"] for item in items
        if isinstance(item.get("key"), str) and item["key"] not in desk.operations and token_of(desk, kind, item) == "tok_busy"
    ]  # fmt: skip


def token_of(desk: Desk, kind: str, item: Item) -> str:
    number = item.get("authorisation_no")
    if kind == "refund" and (payment := desk.payments.get(item["payment_no"])):
        number = payment.authorisation_no
    authorisation = desk.authorisations.get(number) if isinstance(number, str) else None
    return authorisation.token if authorisation else ""


def told(key: str, operation: Operation | None) -> Answer:
    if operation is None or operation.state in {"lost", "retry"}:
        return {"key": key, "status": "unknown_key"}
    return operation.answer or {"key": key, "status": "pending"}


def say(item: Item, status: str, **more: Any) -> Answer:
    return {"key": item["key"], "reference": item["reference"], "status": status, **more}


@lru_cache(maxsize=8)
def china_time(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).astimezone(BEIJING).isoformat(timespec="milliseconds")


def _number_of(key: str) -> str:
    return blake2b(key.encode(), digest_size=9).hexdigest().upper()


def fault_of(kind: str, item: Item) -> str | None:
    """What is wrong with an item before it means anything, None if nothing."""
    for name in _REQUIRED[kind]:
        if not isinstance(item.get(name), str) or not 0 < len(item[name]) <= 128:
            return f"{name} must be a text of 1 to 128 characters"
    if kind == "authorise":
        payer = item.get("payer")
        if not isinstance(payer, dict) or not all(
            isinstance(payer.get(n), str) for n in ("name", "id_type", "id_number")
        ):
            return "payer must have name, id_type and id_number"
    if "amount" in _REQUIRED[kind]:
        try:
            if Money.of(item["amount"], item["currency"]).minor <= 0:
                return "amount must be above zero"
        except MoneyError as error:
            return str(error)
    return None
