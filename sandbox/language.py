"""The language of the sandboxes, one table: the word, its place, what the party does, how it ends.

`docs/sandbox.md` is written from it by `python -m deploy.docs`. The tests rehearse every row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Party = Literal["bank", "carrier", "authority"]


@dataclass(frozen=True, slots=True)
class Phrase:
    """One row: `does` has the party's answers in its own codes, `end` the order's end."""

    party: Party
    word: str
    meaning: str
    does: tuple[str, ...]
    end: str


WHERE: Final[dict[Party, str]] = {
    "bank": "`payment.token`",
    "carrier": "a word after `~` in `order_no`, words joined by `.`",
    "authority": "a word after `~` in `order_no`, words joined by `.`",
}

LANGUAGE: Final[tuple[Phrase, ...]] = (
    Phrase("bank", "tok_ok", "authorises and captures", ("authorised", "captured"), "fulfilled"),
    Phrase(
        "bank",
        "tok_declined",
        "declines the authorisation: AM04, insufficient funds",
        ("declined",),
        "rejected",
    ),
    Phrase(
        "bank",
        "tok_expired",
        "authorises, then declines the capture, and to void: AC04, the hold ran out",
        ("authorised", "declined", "declined"),
        "rejected",
    ),
    Phrase(
        "bank",
        "tok_unknown",
        "answers `pending` though it captured: asking by key tells",
        ("authorised", "pending", "?captured"),
        "fulfilled",
    ),
    Phrase(
        "bank",
        "tok_unknown_lost",
        "answers `pending` and did nothing: the key is unknown, the same request again succeeds",
        ("authorised", "pending", "?unknown_key", "captured"),
        "fulfilled",
    ),
    Phrase(
        "bank",
        "tok_hangup",
        "cuts the line of the whole bulk after its effects were recorded, once per key",
        ("authorised", "!hangup", "?captured"),
        "fulfilled",
    ),
    Phrase(
        "bank",
        "tok_slow",
        "answers `pending`, captures 2 s later",
        ("authorised", "pending", "?pending", "?captured"),
        "fulfilled",
    ),
    Phrase(
        "bank",
        "tok_flaky",
        "answers `error` first and did nothing, then captures",
        ("authorised", "error", "captured"),
        "fulfilled",
    ),
    Phrase(
        "bank",
        "tok_other_payer",
        "names another person as payer",
        ("authorised", "captured"),
        "rejected: buyer and payer differ",
    ),
    Phrase(
        "bank",
        "tok_short",
        "captures 1.00 less than asked",
        ("authorised", "captured"),
        "rejected: 1332, amounts differ",
    ),
    Phrase(
        "bank",
        "tok_refund_flaky",
        "answers `error` to the first refund, then refunds",
        ("authorised", "captured", "error", "refunded"),
        "fulfilled; a refund succeeds at the second try",
    ),
    Phrase(
        "bank",
        "tok_forgotten",
        (
            "captures, answers `pending` and forgets the key: the same request again is declined "
            "(AM05, is captured); its books tell"
        ),
        ("authorised", "pending", "?unknown_key", "&captured", "declined"),
        "fulfilled",
    ),
    Phrase(
        "bank",
        "tok_refund_declined",
        (
            "declines the first refund for good (AB05: the buyer's bank is late), then refunds "
            "under a new key"
        ),
        ("authorised", "captured", "declined", "declined", "+refunded"),
        "fulfilled; a refund succeeds at the second attempt",
    ),
    Phrase(
        "bank",
        "tok_poison",
        "fails on every bulk that it is in: HTTP 500, and nothing of the bulk is done",
        ("!500", "?unknown_key", "!500"),
        "stays open; a case for a person",
    ),
    Phrase(
        "bank",
        "tok_swapped",
        "captures, and names another payment in its answer; its books tell",
        ("authorised", "captured", "?captured", "&captured"),
        "fulfilled; a case for a person",
    ),
    Phrase(
        "bank",
        "tok_null",
        'answers a bulk with `{"items": null}` after its effects were recorded, once per key',
        ("authorised", "!null", "?captured"),
        "fulfilled",
    ),
    Phrase(
        "bank",
        "tok_busy",
        "turns a bulk away once per key: HTTP 429 with `Retry-After: 1`, nothing was done",
        ("authorised", "!busy", "?unknown_key", "captured"),
        "fulfilled",
    ),
    Phrase(
        "bank",
        "tok_hang",
        "answers a bulk 6 s late, after its effects were recorded, once per key",
        ("authorised", "!hang", "?captured"),
        "fulfilled",
    ),
    Phrase("carrier", "", "issues the waybill at once", ("issued",), "fulfilled"),
    Phrase("carrier", "late", "issues the waybill 2 s later", ("issued",), "fulfilled"),
    Phrase("carrier", "lost", "never issues a waybill", (), "stays open until it is cancelled"),
    Phrase(
        "carrier",
        "dupway",
        "sends the same waybill twice, under two ids",
        ("issued", "issued"),
        "fulfilled",
    ),
    Phrase(
        "carrier",
        "blurred",
        "sends a waybill in UTF-16 and one with U+FFFE in its number; a good one 2 s later",
        ("unreadable", "unprintable", "issued"),
        "fulfilled, with two dead letters of the carrier's",
    ),
    Phrase(
        "carrier",
        "newway",
        "sends a waybill, and at once another number",
        ("issued", "issued"),
        "fulfilled under the second",
    ),
    Phrase(
        "carrier",
        "twin000001",
        (
            "writes the number of the parcel of the order whose number ends in 000001, or other "
            "six digits"
        ),
        ("issued",),
        "rejected by the match before the list is lodged: -504015, another order's number",
    ),
    Phrase(
        "carrier",
        "badway",
        "writes another consignee on the waybill",
        ("issued",),
        "rejected by the match before the list is lodged: -503001, consignee differs",
    ),
    Phrase(
        "authority",
        "",
        "accepts and releases at once (exports are closed 0.5 s later: 899)",
        ("2", "120", "800"),
        "fulfilled",
    ),
    Phrase(
        "authority", "review", "reviews by hand for 1 s", ("2", "120", "300", "800"), "fulfilled"
    ),
    Phrase("authority", "examine", "examines for 1 s", ("2", "120", "500", "800"), "fulfilled"),
    Phrase(
        "authority",
        "detain",
        "examines for 1 s, then detains",
        ("2", "120", "500", "501"),
        "rejected: detained",
    ),
    Phrase("authority", "hold", "suspends for 1 s", ("2", "120", "600", "800"), "fulfilled"),
    Phrase(
        "authority",
        "return",
        "returns the list once (100, 130126: phone differs); the amendment is accepted",
        ("2", "100"),
        "fulfilled after an amendment",
    ),
    Phrase(
        "authority",
        "again",
        (
            "beside `return`: once the amendment comes, says the return of the list before again, "
            "in a receipt of its own"
        ),
        ("2", "120", "800"),
        "fulfilled after one amendment",
    ),
    Phrase(
        "authority",
        "reject",
        "returns the list every time (100, 99: name and number do not belong together)",
        ("2", "100"),
        "rejected",
    ),
    Phrase(
        "authority",
        "shipback",
        "examines for 1 s, then orders the goods back",
        ("2", "120", "500", "700"),
        "rejected: return shipment",
    ),
    Phrase(
        "authority",
        "silent",
        "records the list and never answers",
        (),
        "stays open; operators are alerted",
    ),
    Phrase("authority", "slow", "gives every answer 2 s later", ("2", "120", "800"), "fulfilled"),
    Phrase(
        "authority",
        "dupreceipt",
        "gives every receipt twice",
        ("2", "2", "120", "120", "800", "800"),
        "fulfilled",
    ),
    Phrase(
        "authority",
        "contradict",
        "releases, and 1 s later says 500",
        ("2", "120", "800", "500"),
        "fulfilled; the late 500 changes nothing",
    ),
    Phrase(
        "authority",
        "eport",
        "the e-port refuses the first list (-621041, resubmitted too soon), then takes it",
        ("-621041",),
        "fulfilled after lodging again",
    ),
    Phrase(
        "authority",
        "twice",
        (
            "hears the message again and refuses it at the e-port (-621004, exports -603001), "
            "before the release and 1 s after it"
        ),
        ("2", "120", "-621004", "800", "-621004"),
        "fulfilled; customs has the list, so the refusal changes nothing",
    ),
    Phrase(
        "authority",
        "outage",
        (
            "the e-port cannot send the list to customs (4) for 8 s from the first that came, then "
            "it can"
        ),
        ("4",),
        "fulfilled once the way is free",
    ),
    Phrase(
        "authority",
        "busy",
        (
            "the e-port refuses the first two lists (-621022, exports -604001: try again), then "
            "takes it"
        ),
        ("-621022",),
        "fulfilled after lodging twice more",
    ),
    Phrase(
        "authority",
        "ceb900",
        "refuses every message with this list whole, by a CEB900 that names its place",
        ("-2",),
        "rejected alone: 0002; the other lists of its messages are lodged again",
    ),
    Phrase(
        "authority",
        "ceb900_blind",
        "the same, by a CEB900 that names nothing",
        ("-2",),
        "rejected once it stands alone: 0002; the other lists of its messages are lodged again",
    ),
)

RETURNS: Final[tuple[Phrase, ...]] = (
    Phrase(
        "authority",
        "",
        "grants the return; 1 s later the goods are back",
        ("399", "800"),
        "no tax is levied, the quota is restored",
    ),
    Phrase(
        "authority",
        "back_late",
        (
            "grants it; 1 s later the goods are back, dated the first day after the term (day 46 "
            "of an import)"
        ),
        ("399", "800"),
        "the price is refunded, if the merchant does; the tax stays levied and the quota used",
    ),
    Phrase(
        "authority",
        "back_never",
        "grants it; the goods never come back",
        ("399",),
        "given up 90 days past the term: the sale stands",
    ),
    Phrase(
        "authority",
        "back_refused",
        "refuses it (100, 625011: other goods)",
        ("100",),
        "the sale stands",
    ),
)
"""The ends of a return of released goods, whole or in part."""

BILLS: Final[tuple[Phrase, ...]] = (
    Phrase(
        "authority",
        "",
        "bills what the list owes by its own tariff; consolidates",
        ("816:1", "818:2"),
        "paid",
    ),
    Phrase(
        "authority",
        "billhigh",
        "bills 0.30 too much",
        ("816:1", "818:2"),
        "the difference is booked; paid",
    ),
    Phrase(
        "authority",
        "billlow",
        "bills a fifth too little",
        ("816:1", "818:2"),
        "the difference goes back to the buyer; paid",
    ),
    Phrase(
        "authority",
        "billfar",
        "bills three times as much and 100.00",
        ("816:1", "818:2"),
        "a person decides; then paid",
    ),
    Phrase(
        "authority",
        "nobill",
        "never bills the list",
        (),
        "a case for a person once the bill is missing",
    ),
    Phrase(
        "authority",
        "uncorrected",
        "goes on billing all of a list of which some is back in time",
        ("816:1", "818:2"),
        "the merchant bears it; paid; a case for a person",
    ),
    Phrase(
        "authority",
        "latebill",
        "bills on the 35th day",
        ("816:1", "818:2"),
        "paid, within the time of payment",
    ),
    Phrase(
        "authority",
        "dupbill",
        "sends the same bill twice",
        ("816:1", "816:1", "818:2"),
        "paid once",
    ),
    Phrase(
        "authority",
        "contrabill",
        "sends a second bill under the same number, 1.00 higher",
        ("816:1", "816:1", "818:2"),
        "the first stands and is paid; a case for a person",
    ),
)
"""The ends of the tax bill of a released import list; `does` has `message:status`."""


SUMMARIES: Final[tuple[Phrase, ...]] = (
    Phrase(
        "authority",
        "",
        (
            "passes the request; makes declarations, gives their numbers 1 s later, closes them 2 "
            "s later"
        ),
        ("702:399", "792:1", "792:L", "792:R"),
        "closed",
    ),
    Phrase(
        "authority",
        "sum_refused",
        "refuses a request with this list (100, 701005), naming the list",
        ("702:100",),
        "the list is set aside for a person, the others are asked for anew",
    ),
    Phrase(
        "authority",
        "sum_wait",
        "refuses the first request with this list (100, 701009: too often)",
        ("702:100",),
        "closed, after the request was made anew",
    ),
    Phrase(
        "authority",
        "sum_no",
        "refuses every request with this list, naming none (100, 701099)",
        ("702:100",),
        "a person decides",
    ),
    Phrase(
        "authority",
        "sum_silent",
        "takes the request and never answers",
        (),
        "stays requested; operators are alerted in time",
    ),
    Phrase(
        "authority",
        "sum_dup",
        "says every word twice",
        ("702:399", "792:1", "702:399", "792:1", "792:L", "792:L", "792:R", "792:R"),
        "closed",
    ),
    Phrase(
        "authority",
        "dec_returned",
        "returns the declaration to the broker after 1 s; numbers it 1 s later, then closes it",
        ("702:399", "792:1", "792:E", "792:L", "792:R"),
        "closed",
    ),
)
"""The ends of a request to consolidate closed export lists; `does` has `message:status`.

A word of one list applies to the whole request.
"""


def words(party: Party) -> frozenset[str]:
    return frozenset(
        row.word for row in (*LANGUAGE, *RETURNS, *BILLS, *SUMMARIES) if row.party == party
    )
