"""Kinds of sample orders: the records to publish for each, and their right ends."""

# ruff: noqa: S106
# A token here is a word of the bank's sandbox and no secret.

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid5

from deploy.samples.generate import PERSONS, PLACED_AT, PLAIN, submission
from shared.envelope import headers_of
from shared.identity import NAMESPACE, order_id_of

SUBMITTED: Final = "order.submitted.v1"
CANCEL_REQUESTED: Final = "order.cancel-requested.v1"
RETURN_REQUESTED: Final = "return.requested.v1"
PARTLY_RETURNED: Final = "order.partly-returned.v1"
DEAD_LETTER: Final = "dead-letter"

YEARLY_ORDERS: Final = 4
"""Handbags of 6,800 and freight: three are within 26,000 a year, the fourth is above it."""


@dataclass(frozen=True)
class Record:
    """One record for `orders.submissions`.

    It is published `delay_s` seconds after the case began. A publisher that follows the order waits
    instead until it is in a state of `when`, or until `once` is on its timeline.
    """

    order_no: str
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()
    delay_s: float = 0.0
    when: tuple[str, ...] | None = None
    once: str | None = None


@dataclass(frozen=True)
class Case:
    """One rehearsal of a kind.

    `ends` has the right ends of each order; `counts`, where given, how many orders have each end.
    """

    kind: str
    records: tuple[Record, ...]
    orders: dict[str, UUID | None]
    ends: dict[str, tuple[str, ...]]
    counts: dict[str, int]


@dataclass(frozen=True)
class Kind:
    """One kind of rehearsal.

    `code` is the refusal's code, `verdict` the answer to a repeated submission. `bill` is the end
    of the tax bill: the state of its payment and who bears the difference, or why a person decides.
    `verdict_of_person` is how a person settles the order's case of payments.
    """

    name: str
    title: str
    make: Callable[[_Draft], None]
    code: str | None = None
    verdict: str | None = None
    bill: str | None = None
    verdict_of_person: str | None = None


class _Draft:
    """A case under construction."""

    def __init__(self, kind: str, number: int, seed: int, prefix: str, at: datetime) -> None:
        self.kind, self.number, self.seed, self.prefix, self.at = kind, number, seed, prefix, at
        self.records: list[Record] = []
        self.orders: dict[str, UUID | None] = {}
        self.ends: dict[str, tuple[str, ...]] = {}
        self.counts: dict[str, int] = {}

    def order(
        self, *ends: str, sample: str | None = None, offset: int = 0, **how: Any
    ) -> dict[str, Any]:
        number = self.number + offset
        made = submission(
            sample or PLAIN[number % len(PLAIN)],
            number,
            seed=self.seed,
            prefix=self.prefix,
            at=self.at,
            **how,
        )
        self.orders[made["order_no"]] = order_id_of(made["platform"]["code"], made["order_no"])
        self.ends[made["order_no"]] = ends
        return made

    def submit(self, made: dict[str, Any], **how: Any) -> Record:
        return self.publish(made["order_no"], _json(made), SUBMITTED, **how)

    def ask(
        self,
        made: dict[str, Any],
        wire_type: str,
        reason: str,
        more: Mapping[str, Any] | None = None,
        **how: Any,
    ) -> None:
        request = {
            "platform": {"code": made["platform"]["code"]},
            "order_no": made["order_no"],
            "reason": reason,
            **(more or {}),
        }
        self.publish(made["order_no"], _json(request), wire_type, **how)

    def publish(self, order_no: str, value: bytes, wire_type: str, **how: Any) -> Record:
        event_id = uuid5(NAMESPACE, f"sample:{self.seed}:{order_no}:{len(self.records)}")
        headers = headers_of(event_id=event_id, event_type=wire_type, source="samples", at=self.at)
        self.records.append(Record(order_no, order_no.encode(), value, headers, **how))
        return self.records[-1]


def case_of(
    kind: str, number: int, *, seed: int, prefix: str = "DEMO", at: datetime = PLACED_AT
) -> Case:
    """Return a case of a kind, with at most 10 order numbers from `number`; raise KeyError."""
    draft = _Draft(kind, number, seed, prefix, at)
    KINDS[kind].make(draft)
    return Case(kind, tuple(draft.records), draft.orders, draft.ends, draft.counts)


def plain(
    count: int, *, seed: int, prefix: str = "DEMO", at: datetime = PLACED_AT
) -> Iterator[dict[str, Any]]:
    for number in range(1, count + 1):
        yield submission(PLAIN[number % len(PLAIN)], number, seed=seed, prefix=prefix, at=at)


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _simple(*ends: str, **how: Any) -> Callable[[_Draft], None]:
    def make(draft: _Draft) -> None:
        draft.submit(draft.order(*ends, **how))

    return make


def _request(
    wire_type: str,
    end: tuple[str, ...],
    delay_s: float,
    when: tuple[str, ...] | None,
    more: Mapping[str, Any] | None = None,
    **how: Any,
) -> Callable[[_Draft], None]:
    def make(draft: _Draft) -> None:
        made = draft.order(*end, **how)
        draft.submit(made)
        draft.ask(made, wire_type, "the buyer changed their mind", more, delay_s=delay_s, when=when)

    return make


def _yearly(draft: _Draft) -> None:
    """Any of these orders may be handled last and rejected; only the counts are certain."""
    buyer = PERSONS + int(uuid5(NAMESPACE, f"{draft.prefix}|{draft.seed}|{draft.number}")) % 29_000
    for offset in range(YEARLY_ORDERS):
        draft.submit(
            draft.order("fulfilled", "rejected", sample="handbag", offset=offset, person=buyer)
        )
    draft.counts = {"fulfilled": YEARLY_ORDERS - 1, "rejected": 1}


def _in_two_parts(draft: _Draft) -> None:
    """Return one line first, the rest once that is closed: an order has one return at a time."""
    made = draft.order("returned", sample="basket")
    draft.submit(made)
    draft.ask(
        made,
        RETURN_REQUESTED,
        "one line does not please",
        {"lines": [{"line_no": 1}]},
        delay_s=10.0,
        when=("fulfilled",),
    )
    draft.ask(made, RETURN_REQUESTED, "neither do the others", delay_s=15.0, once=PARTLY_RETURNED)


def _one_number(draft: _Draft) -> None:
    """The order that is matched first has the number; express numbers need imports."""
    draft.submit(draft.order("fulfilled", "rejected", sample="cherries"))
    draft.submit(
        draft.order(
            "rejected", "fulfilled", sample="cherries", offset=1, marker=f"twin{draft.number:06d}"
        )
    )
    draft.counts = {"fulfilled": 1, "rejected": 1}


def _before_its_order(draft: _Draft) -> None:
    made = draft.order("cancelled")
    draft.ask(made, CANCEL_REQUESTED, "the buyer changed their mind")
    draft.submit(made, delay_s=0.5)


def _duplicate(draft: _Draft) -> None:
    made = draft.order("fulfilled")
    draft.submit(made)
    draft.submit(made, delay_s=0.2)


def _conflicting(draft: _Draft) -> None:
    made = draft.order("fulfilled")
    draft.submit(made)
    freight, paid = (f"{float(made[name]) + 1:.2f}" for name in ("freight", "amount_paid"))
    draft.submit({**made, "freight": freight, "amount_paid": paid}, delay_s=0.2)


def _faulty(draft: _Draft) -> None:
    """Publish a readable order with a number for money, a wrong check digit, a wrong sum and a far
    date.
    """
    made = draft.order("rejected", sample="cherries")
    made["buyer"]["id_number"] = made["buyer"]["id_number"][:-1] + (
        "0" if made["buyer"]["id_number"][-1] != "0" else "1"
    )
    made |= {"freight": 20.0, "goods_value": "1.00", "placed_at": "2099-01-01T00:00:00+08:00"}
    draft.submit(made)


def _malformed(draft: _Draft) -> None:
    made = draft.order(DEAD_LETTER)
    draft.publish(made["order_no"], _json(made)[:-40], SUBMITTED)
    draft.orders[made["order_no"]] = None


def _behind_poison(draft: _Draft) -> None:
    """Publish a broken record under the order's own key, so that both are in one partition."""
    made = draft.order("fulfilled")
    draft.publish(made["order_no"], b'{"order_no": "\xff\xfe', SUBMITTED)
    draft.submit(made)


_ALL: Final = (
    Kind("released", "released at once", _simple("fulfilled")),
    Kind("declined", "the bank declines", _simple("rejected", token="tok_declined"), code="AM04"),
    Kind(
        "unknown", "unknown at the bank, then captured", _simple("fulfilled", token="tok_unknown")
    ),
    Kind(
        "other_payer",
        "the payer is not the buyer",
        _simple("rejected", sample="cherries", token="tok_other_payer"),
        code="47",
    ),
    Kind(
        "short",
        "the bank captured another amount",
        _simple("rejected", token="tok_short"),
        code="1332",
    ),
    Kind(
        "bank_forgets",
        "the bank forgets the key of a capture",
        _simple("fulfilled", token="tok_forgotten"),
    ),
    Kind("bank_null", "the bank answers null", _simple("fulfilled", token="tok_null")),
    Kind("bank_busy", "the bank turns captures away", _simple("fulfilled", token="tok_busy")),
    Kind("bank_hangs", "the bank answers too late", _simple("fulfilled", token="tok_hang")),
    Kind(
        "bank_swaps",
        "answered with another payment",
        _simple("fulfilled", token="tok_swapped"),
        verdict_of_person="noted",
    ),
    Kind(
        "bank_fails_on_one",
        "the bank cannot bear it",
        _simple("rejected", token="tok_poison"),
        code="not_done",
        verdict_of_person="not-done",
    ),
    Kind(
        "refund_declined_once",
        "the first refund is declined",
        _request(
            RETURN_REQUESTED, ("returned",), 10.0, ("fulfilled",), token="tok_refund_declined"
        ),
    ),
    Kind("late_waybill", "the waybill comes late", _simple("fulfilled", marker="late")),
    Kind(
        "blurred_waybill",
        "waybills nobody can read, then a good one",
        _simple("fulfilled", marker="blurred"),
    ),
    Kind("second_waybill", "another waybill before lodging", _simple("fulfilled", marker="newway")),
    Kind("one_number", "one waybill number on two orders", _one_number, code="-504015"),
    Kind(
        "single_limit",
        "over 5,000 in company",
        _simple("rejected", sample="handbag_in_company"),
        code="-621005",
    ),
    Kind("yearly_limit", "over 26,000 a year", _yearly, code="1313"),
    Kind("examined", "examined, then released", _simple("fulfilled", marker="examine")),
    Kind("detained", "examined, then detained", _simple("rejected", marker="detain"), code="501"),
    Kind(
        "corrected",
        "returned by customs, corrected",
        _simple("fulfilled", sample="lotion", marker="return"),
    ),
    Kind("port_outage", "the e-port cannot reach customs", _simple("fulfilled", marker="outage")),
    Kind("port_busy", "the e-port is busy", _simple("fulfilled", sample="lotion", marker="busy")),
    Kind(
        "refused_whole",
        "its message is refused whole",
        _simple("rejected", sample="lotion", marker="ceb900"),
        code="0002",
    ),
    Kind("cancelled_before_order", "cancelled before it came", _before_its_order),
    Kind(
        "cancelled_before_payment",
        "cancelled before it was paid",
        _request(CANCEL_REQUESTED, ("cancelled",), 0.1, ("placed",), token="tok_slow"),
    ),
    Kind(
        "cancelled_after_payment",
        "cancelled after it was paid",
        # No waybill ever comes, so the order stays where it is until it is called off.
        _request(CANCEL_REQUESTED, ("cancelled",), 1.5, None, marker="lost"),
    ),
    Kind(
        "cancelled_after_lodging",
        "cancelled after it was lodged",
        # Held and slow, so that the authority has not decided when the cancellation comes; if it
        # has, the goods come back.
        _request(CANCEL_REQUESTED, ("cancelled", "returned"), 1.5, ("lodged",), marker="hold.slow"),
    ),
    Kind(
        "returned",
        "given back after release, in time",
        _request(RETURN_REQUESTED, ("returned",), 10.0, ("fulfilled",)),
    ),
    Kind(
        "returned_partly",
        "one line of three given back",
        # The sale of the other lines stands, so the order stays fulfilled.
        _request(
            RETURN_REQUESTED,
            ("fulfilled",),
            10.0,
            ("fulfilled",),
            {"lines": [{"line_no": 2}]},
            sample="basket",
        ),
    ),
    Kind("returned_in_two_parts", "given back line by line", _in_two_parts),
    Kind(
        "returned_late",
        "back after the term: tax stays",
        _request(
            RETURN_REQUESTED,
            ("returned",),
            10.0,
            ("fulfilled",),
            sample="cream",
            marker="back_late",
        ),
    ),
    Kind(
        "return_refused",
        "the authority refuses the return",
        _request(
            RETURN_REQUESTED,
            ("fulfilled",),
            10.0,
            ("fulfilled",),
            sample="cherries",
            marker="back_refused",
        ),
    ),
    Kind("duplicate", "submitted twice", _duplicate, verdict="exists"),
    Kind(
        "conflicting",
        "another order of the same number",
        _conflicting,
        verdict="exists_with_different_freight",
    ),
    Kind("faulty", "breaks several rules", _faulty),
    Kind("malformed", "cannot be read", _malformed),
    Kind(
        "bill_paid",
        "billed as assessed, paid",
        _simple("fulfilled", sample="cherries"),
        bill="paid, exact",
    ),
    Kind(
        "bill_high",
        "billed 0.30 too much",
        _simple("fulfilled", sample="nuts", marker="billhigh"),
        bill="paid, booked",
    ),
    Kind(
        "bill_low",
        "billed a fifth too little",
        _simple("fulfilled", sample="cream", marker="billlow"),
        bill="paid, refund",
    ),
    Kind(
        "bill_far_off",
        "billed three times as much",
        _simple("fulfilled", sample="wine", marker="billfar"),
        bill="a person: far_off",
    ),
    Kind(
        "bill_missing",
        "never billed",
        _simple("fulfilled", sample="milk_powder", marker="nobill"),
        bill="a person: missing",
    ),
    Kind("behind_poison", "a good order behind a broken record", _behind_poison),
)
KINDS: Final[dict[str, Kind]] = {kind.name: kind for kind in _ALL}
