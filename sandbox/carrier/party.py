"""The carrier: books a parcel for every order that a shop places, and issues its waybill."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sandbox import metrics
from sandbox.documents import SubmittedOrder, WaybillDocument, words_of
from sandbox.storage import KAFKA_TABLES, File, Offsets, append_outbox, move_offsets
from shared.envelope import Outgoing, headers_of
from shared.identity import NAMESPACE, event_id_of, order_id_of
from shared.money import Money
from shared.parties import signed_headers

_ISSUED: Final = "waybill.issued.v1"
LATE_S: Final = 2.0
_GRAM: Final = Decimal("0.001")
_S10_WEIGHTS: Final = (8, 6, 4, 2, 3, 5, 9, 7)
# First letters of service indicators; those that start with J, K, S, T, W are reserved [bwipp].
_S10_FIRST: Final = "CELRUV"
_LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True, slots=True)
class _House:
    code: str
    name: str


EXPRESS: Final = _House("31229908QR", "Sandbox Express")
POST: Final = _House("11059199PT", "Sandbox Post")


@dataclass(slots=True)
class _Booking:
    """The rows and records of one batch of orders; `late` has the time at which each is issued."""

    parcels: list[tuple[str, str, str, float | None]] = field(default_factory=list)
    late: list[tuple[str, float, bytes]] = field(default_factory=list)
    records: list[Outgoing] = field(default_factory=list)
    notices: list[tuple[bytes]] = field(default_factory=list)
    numbers: set[str] = field(default_factory=set)


class Carrier:
    """The carrier's decisions over its file. Times are seconds since the epoch."""

    def __init__(
        self,
        topic: str,
        path: Path | None = None,
        pace: float = 1.0,
        key: Ed25519PrivateKey | None = None,
    ) -> None:
        """`topic` is where waybills go; `key` signs them."""
        self.file = File(
            path, KAFKA_TABLES + Path(__file__).with_name("carrier.sql").read_text(encoding="utf-8")
        )
        self._topic = topic
        self._late_s = LATE_S * pace
        self._key = key

    def book(
        self, submissions: Sequence[SubmittedOrder], now: float, offsets: Offsets | None = None
    ) -> None:
        """Book a parcel for each new order and issue the waybills that are not late, in one
        transaction.
        """
        with self.file.transaction() as db:
            rows = self.file.by_key(
                "SELECT order_id FROM waybill WHERE order_id IN (SELECT value FROM json_each(?))",
                [str(s.order_id) for s in submissions],
            )
            known = {row[0] for row in rows}
            fresh: dict[str, SubmittedOrder] = {}
            for submission in submissions:
                order_id = str(submission.order_id)
                if order_id not in known:
                    fresh.setdefault(order_id, submission)
            self._book(fresh, now)
            move_offsets(db, offsets or {})

    def issue_late(self, now: float) -> bool:
        """Issue the late waybills that are due; return whether there was one."""
        with self.file.transaction() as db:
            rows = db.execute(
                "SELECT order_id, document FROM late WHERE due <= ? ORDER BY due LIMIT 500", (now,)
            ).fetchall()
            for order_id, document in rows:
                self._issue(orjson.loads(document), now, twice=False)
                db.execute("DELETE FROM late WHERE order_id = ?", (order_id,))
                db.execute(
                    "UPDATE waybill SET state = 'issued', issued_at = ? WHERE order_id = ?",
                    (now, order_id),
                )
        return bool(rows)

    def _book(self, orders: dict[str, SubmittedOrder], now: float) -> None:
        booking = _Booking()
        for order_id, order in orders.items():
            self._book_order(booking, order_id, order, now)
        for state, count in Counter(row[2] for row in booking.parcels).items():
            metrics.OPERATIONS.labels("carrier", "waybill", state).inc(count)
        db = self.file.db
        db.executemany("INSERT INTO waybill VALUES (?, ?, ?, ?)", booking.parcels)
        db.executemany("INSERT INTO late VALUES (?, ?, ?)", booking.late)
        db.executemany("INSERT INTO notice (document) VALUES (?)", booking.notices)
        append_outbox(db, booking.records)

    def _book_order(
        self, booking: _Booking, order_id: str, order: SubmittedOrder, now: float
    ) -> None:
        words = words_of(order.order_no)
        number = self._number(order, booking.numbers)
        booking.numbers.add(number)
        state = _first_state(words)
        issued_at = now if state == "issued" else None
        booking.parcels.append((order_id, number, state, issued_at))
        document = _document(order, _twin_of(order, words) or number, wrong="badway" in words)
        if "blurred" in words:
            booking.records += _blurred(self._topic, document, now)
        if state == "late":
            booking.late.append((order_id, now + self._late_s, orjson.dumps(document)))
        elif state == "issued":
            if "newway" in words:
                first = {**document, "logistics_no": f"{number}0"}
                booking.records += self._records(first, now, twice=False, name="first")
            booking.records += self._records(document, now, twice="dupway" in words)
            booking.notices.append((_notice(document),))

    def _issue(self, document: dict[str, Any], now: float, *, twice: bool) -> None:
        append_outbox(self.file.db, self._records(document, now, twice=twice))
        self.file.db.execute("INSERT INTO notice (document) VALUES (?)", (_notice(document),))

    def _records(
        self, document: dict[str, Any], now: float, *, twice: bool, name: str = ""
    ) -> list[Outgoing]:
        order_id = UUID(document["order_id"])
        issued_at, headers = _headers(now)
        value = orjson.dumps({**document, "issued_at": issued_at})
        # The second record has an id of its own: the carrier repeats the document, not Kafka the
        # record.
        names = (name, "again") if twice else (name,)
        ids = [event_id_of(order_id, _ISSUED + name, order_id) for name in names]
        key, headers = (
            document["order_id"].encode(),
            tuple(signed_headers(self._key, headers, value)),
        )
        return [
            Outgoing(self._topic, key, value, (("ce_id", str(event_id).encode()), *headers))
            for event_id in ids
        ]

    def _number(self, submission: SubmittedOrder, taken: AbstractSet[str]) -> str:
        """Return the parcel's number: an S10 identifier for exports, the express house's own for
        imports.
        """
        if submission.direction != "export":
            return _express_number(submission.order_id)
        salt = 0
        while True:
            number = s10_of(submission.order_id, salt)
            known = self.file.db.execute(
                "SELECT 1 FROM waybill WHERE logistics_no = ?", (number,)
            ).fetchone()
            if number not in taken and not known:
                return number
            salt += 1


def _first_state(words: AbstractSet[str]) -> str:
    if "lost" in words:
        return "lost"
    return "late" if words & {"late", "blurred"} else "issued"


def s10_of(order_id: UUID, salt: int = 0) -> str:
    """Return a valid UPU S10 identifier drawn from an order id; another `salt` draws another."""
    draw = int.from_bytes(blake2b(order_id.bytes + salt.to_bytes(4), digest_size=8).digest())
    draw, digits = divmod(draw, 10**8)
    draw, second = divmod(draw, 26)
    body = f"{digits:08d}"
    check = (
        11 - sum(int(digit) * weight for digit, weight in zip(body, _S10_WEIGHTS, strict=True)) % 11
    )
    return f"{_S10_FIRST[draw % 6]}{_LETTERS[second]}{body}{ {10: 0, 11: 5}.get(check, check) }CN"


def _twin_of(submission: SubmittedOrder, words: AbstractSet[str]) -> str | None:
    """Return the number of another order's parcel, where a word names that order by its last six
    digits.
    """
    twins = (word[4:] for word in words if word.startswith("twin") and len(word) == 10)
    digits = next((digits for digits in twins if digits.isdigit()), None)
    if digits is None:
        return None
    base = submission.order_no.partition("~")[0]
    return _express_number(order_id_of(submission.platform_code, base[:-6] + digits))


def _express_number(order_id: UUID) -> str:
    return f"YT{order_id.int % 10**16:016d}"


def _blurred(topic: str, document: dict[str, Any], now: float) -> list[Outgoing]:
    """Return the waybill in UTF-16, and the waybill with a number that cannot be printed."""
    order_id = UUID(document["order_id"])
    text = orjson.dumps(document).decode()
    values = (
        text.encode("utf-16"),
        orjson.dumps({**document, "logistics_no": document["logistics_no"] + "\ufffe"}),
    )
    headers = _headers(now)[1]
    key = document["order_id"].encode()
    ids = (event_id_of(order_id, f"{_ISSUED}blurred{n}", order_id) for n in range(len(values)))
    return [
        Outgoing(topic, key, value, (("ce_id", str(event_id).encode()), *headers))
        for event_id, value in zip(ids, values, strict=True)
    ]


@lru_cache(maxsize=8)
def _headers(now: float) -> tuple[str, tuple[tuple[str, bytes], ...]]:
    """Return the time on the waybills of one batch, and their common headers: all but the id."""
    at = datetime.fromtimestamp(now, UTC)
    headers = headers_of(event_id=NAMESPACE, event_type=_ISSUED, source="sandbox/carrier", at=at)
    return at.isoformat(timespec="milliseconds"), tuple(
        header for header in headers if header[0] != "ce_id"
    )


def _document(submission: SubmittedOrder, number: str, *, wrong: bool) -> dict[str, Any]:
    house = POST if submission.direction == "export" else EXPRESS
    to = submission.consignee
    return {
        "order_id": str(submission.order_id),
        "order_no": submission.order_no,
        "platform_code": submission.platform_code,
        "logistics_code": house.code,
        "logistics_name": house.name,
        "logistics_no": number,
        "freight": str(Money.of(submission.freight, submission.currency)),
        "insurance": str(Money.of(submission.insurance, submission.currency)),
        "currency": submission.currency,
        "gross_weight_kg": str(
            (submission.net_weight_kg * Decimal("1.05") + Decimal("0.05")).quantize(_GRAM)
        ),
        "pack_count": 1,
        "consignee": {
            "name": "测试收件人" if wrong else to.name,
            "phone": to.phone,
            "country": to.country,
            "region": to.region,
            "city": to.city,
            "address": to.address,
            "postcode": to.postcode,
        },
    }


def _notice(document: dict[str, Any]) -> bytes:
    to = document["consignee"]
    return orjson.dumps(
        WaybillDocument(
            document["order_id"],
            document["logistics_code"],
            document["logistics_no"],
            to["name"],
            to["phone"],
            to["address"],
        )
    )
