"""The carrier: books a parcel for every order a shop places, and issues its waybill."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
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
from sandbox.documents import Submission, Waybill, words_of
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
        self, submissions: Sequence[Submission], now: float, offsets: Offsets | None = None
    ) -> None:
        """Book a parcel for each order not seen before and issue what can be issued, in one transaction."""
        with self.file.transaction() as db:
            known = {
                row[0]
                for row in self.file.by_key(
                    "SELECT order_id FROM waybill WHERE order_id IN (SELECT value FROM json_each(?))",
                    [str(s.order_id) for s in submissions],
                )
            }
            fresh: dict[str, Submission] = {}
            for submission in submissions:
                order_id = str(submission.order_id)
                if order_id not in known:
                    fresh.setdefault(order_id, submission)
            self._book(fresh, now)
            move_offsets(db, offsets or {})

    def issue_late(self, now: float) -> bool:
        """Issue the late waybills that are due; True if there was one."""
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

    def _book(self, fresh: dict[str, Submission], now: float) -> None:
        booked: list[tuple[str, str, str, float | None]] = []
        late: list[tuple[str, float, bytes]] = []
        records: list[Outgoing] = []
        notices: list[tuple[bytes]] = []
        taken: set[str] = set()
        for order_id, submission in fresh.items():
            words = words_of(submission.order_no)
            number = self._number(submission, taken)
            taken.add(number)
            state = (
                "lost" if "lost" in words else "late" if words & {"late", "blurred"} else "issued"
            )
            booked.append((order_id, number, state, now if state == "issued" else None))
            document = _document(
                submission, _twin_of(submission, words) or number, wrong="badway" in words
            )
            if "blurred" in words:
                records += _blurred(self._topic, document, now)
            if state == "late":
                late.append((order_id, now + self._late_s, orjson.dumps(document)))
            elif state == "issued":
                if "newway" in words:
                    records += self._records(
                        {**document, "logistics_no": f"{number}0"}, now, twice=False, name="first"
                    )
                records += self._records(document, now, twice="dupway" in words)
                notices.append((_notice(document),))
        for state, count in Counter(row[2] for row in booked).items():
            metrics.OPERATIONS.labels("carrier", "waybill", state).inc(count)
        db = self.file.db
        db.executemany("INSERT INTO waybill VALUES (?, ?, ?, ?)", booked)
        db.executemany("INSERT INTO late VALUES (?, ?, ?)", late)
        db.executemany("INSERT INTO notice (document) VALUES (?)", notices)
        append_outbox(db, records)

    def _issue(self, document: dict[str, Any], now: float, *, twice: bool) -> None:
        append_outbox(self.file.db, self._records(document, now, twice=twice))
        self.file.db.execute("INSERT INTO notice (document) VALUES (?)", (_notice(document),))

    def _records(
        self, document: dict[str, Any], now: float, *, twice: bool, name: str = ""
    ) -> list[Outgoing]:
        order_id = UUID(document["order_id"])
        issued_at, headers = _headers(now)
        value = orjson.dumps({**document, "issued_at": issued_at})
        # The second has an id of its own: a document sent again, not a record delivered again.
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

    def _number(self, submission: Submission, taken: AbstractSet[str]) -> str:
        """The parcel's number: an S10 item identifier for exports, the express house's own for imports."""
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


def s10_of(order_id: UUID, salt: int = 0) -> str:
    """A valid UPU S10 identifier drawn from an order id; `salt` draws another where one is taken."""
    draw = int.from_bytes(blake2b(order_id.bytes + salt.to_bytes(4), digest_size=8).digest())
    draw, digits = divmod(draw, 10**8)
    draw, second = divmod(draw, 26)
    body = f"{digits:08d}"
    check = (
        11 - sum(int(digit) * weight for digit, weight in zip(body, _S10_WEIGHTS, strict=True)) % 11
    )
    return f"{_S10_FIRST[draw % 6]}{_LETTERS[second]}{body}{ {10: 0, 11: 5}.get(check, check) }CN"


def _twin_of(submission: Submission, words: AbstractSet[str]) -> str | None:
    """The number of another order's parcel, where a word names that order by its last six digits."""
    digits = next(
        (
            word[4:]
            for word in words
            if word.startswith("twin") and len(word) == 10 and word[4:].isdigit()
        ),
        None,
    )
    if digits is None:
        return None
    base = submission.order_no.partition("~")[0]
    return _express_number(order_id_of(submission.platform_code, base[:-6] + digits))


def _express_number(order_id: UUID) -> str:
    return f"YT{order_id.int % 10**16:016d}"


def _blurred(topic: str, document: dict[str, Any], now: float) -> list[Outgoing]:
    """The waybill in an encoding that nobody reads, and with a number that cannot be printed."""
    order_id = UUID(document["order_id"])
    text = orjson.dumps(document).decode()
    values = (
        text.encode("utf-16"),
        orjson.dumps({**document, "logistics_no": document["logistics_no"] + "\ufffe"}),
    )
    headers = _headers(now)[1]
    return [
        Outgoing(topic, document["order_id"].encode(), value,
                 (("ce_id", str(event_id_of(order_id, f"{_ISSUED}blurred{number}", order_id)).encode()), *headers))
        for number, value in enumerate(values)
    ]  # fmt: skip


@lru_cache(maxsize=8)
def _headers(now: float) -> tuple[str, tuple[tuple[str, bytes], ...]]:
    """The time on the waybills of one batch, and the headers they share: all but the id."""
    at = datetime.fromtimestamp(now, UTC)
    headers = headers_of(event_id=NAMESPACE, event_type=_ISSUED, source="sandbox/carrier", at=at)
    return at.isoformat(timespec="milliseconds"), tuple(
        header for header in headers if header[0] != "ce_id"
    )


def _document(submission: Submission, number: str, *, wrong: bool) -> dict[str, Any]:
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
        Waybill(
            document["order_id"],
            document["logistics_code"],
            document["logistics_no"],
            to["name"],
            to["phone"],
            to["address"],
        )
    )
