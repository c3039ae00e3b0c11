"""Verified sales and throughput per window: which row an event counts in, what one more makes of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, Literal

import orjson

from services.orders.intake.submission import PROBE
from shared.envelope import rfc3339
from shared.errors import Unprocessable
from shared.money import EXPONENTS, Money

SaleStage = Literal["placed", "fulfilled", "rejected", "cancelled", "partly_returned", "returned"]
Size = Literal["minute", "hour"]

SALE_STAGES: Final[Mapping[bytes, SaleStage]] = {
    b"order.placed.v1": "placed",
    b"order.fulfilled.v1": "fulfilled",
    b"order.rejected.v1": "rejected",
    b"order.cancelled.v1": "cancelled",
    b"order.partly-returned.v1": "partly_returned",
    b"order.returned.v1": "returned",
}
"""Wire type to what it counts as; every other type on the topic changes no row."""

_GIVEN_BACK: Final = ("partly_returned", "returned")

SIZES: Final[Mapping[Size, int]] = {"minute": 60, "hour": 3600}
"""Seconds of a window; windows tumble and start at whole multiples since 1970 UTC."""

RETENTION_S: Final[Mapping[Size, int]] = {"minute": 2 * 86400, "hour": 40 * 86400}
"""How far behind its partition's newest record a window still takes records; hours outlive the topic."""

NO_CURRENCY: Final = "XXX"
"""ISO 4217 for "no currency": rejections and cancellations, whose events state no amount."""

_CORRIDOR_MAX: Final = 32
RECENT_IDS_MAX: Final = 4000
"""Twice the most records a relay sends before it deletes them: so far apart may the first and the second stand."""


@dataclass(frozen=True, slots=True)
class CountedEvent:
    """What the view takes from one event; amounts in minor units of `currency`."""

    stage: SaleStage
    corridor: str
    currency: str
    goods_minor: int = 0
    paid_minor: int = 0


@dataclass(frozen=True, slots=True)
class Key:
    """One row: the part of one window that one source partition holds, so a row has one writer."""

    partition: int
    size: Size
    start_s: int
    corridor: str
    currency: str

    def encode(self) -> bytes:
        return (
            f"{self.partition}|{self.size}|{self.start_s}|{self.corridor}|{self.currency}".encode()
        )

    @property
    def end_s(self) -> int:
        return self.start_s + SIZES[self.size]

    def is_kept(self, newest_ms: int) -> bool:
        """Whether the window still takes records when its partition's newest record is of `newest_ms`."""
        return self.end_s + RETENTION_S[self.size] > newest_ms // 1000


@dataclass(frozen=True, slots=True)
class Row:
    """Counts and sums of one key; `offset` is the last one folded in, `at_ms` the newest record's time."""

    offset: int = -1
    at_ms: int = 0
    placed: int = 0
    fulfilled: int = 0
    rejected: int = 0
    cancelled: int = 0
    partly_returned: int = 0
    returned: int = 0
    verified_minor: int = 0
    paid_minor: int = 0
    returned_minor: int = 0

    def encode(self) -> bytes:
        return orjson.dumps({name: getattr(self, name) for name in _ROW_FIELDS})


_ROW_FIELDS: Final = tuple(f.name for f in fields(Row))


@dataclass(frozen=True, slots=True)
class Position:
    """How far a source partition is folded: the next offset wanted, and the newest record's time."""

    next: int
    newest_ms: int = 0

    def encode(self) -> bytes:
        return orjson.dumps({"next": self.next, "newest_ms": self.newest_ms})


class RecentIds:
    """The ids of a partition's last records.

    The log has some records twice: a relay that dies between sending and deleting sends its batch again. Of two records
    with one id the first counts.
    """

    def __init__(self) -> None:
        self._ids: dict[bytes, None] = {}

    def is_new(self, event_id: bytes | None) -> bool:
        """Remember the id; false if it was among the last SEEN_MAX. A record without one is always new."""
        if event_id is None:
            return True
        if event_id in self._ids:
            return False
        self._ids[event_id] = None
        if len(self._ids) > RECENT_IDS_MAX:
            del self._ids[next(iter(self._ids))]
        return True


def decode_key(raw: bytes) -> Key:
    partition, size, start_s, corridor, currency = raw.decode().split("|")
    return Key(
        int(partition), "minute" if size == "minute" else "hour", int(start_s), corridor, currency
    )


def decode_row(raw: bytes) -> Row:
    return Row(**orjson.loads(raw))


def decode_position(raw: bytes) -> Position:
    return Position(**orjson.loads(raw))


def position_key(partition: int) -> bytes:
    return b"%d|place" % partition


def read(wire_type: bytes | None, value: bytes | None) -> CountedEvent | None:
    """What to count of an event, None if nothing; raises Unprocessable if it is not what its type says.

    A synthetic order counts nowhere.

    Only the few fields needed are looked at: this is a view, the services have validated the rest.
    """
    stage = SALE_STAGES.get(wire_type or b"")
    if stage is None:
        return None
    try:
        found = orjson.loads(value or b"")
        corridor = found["corridor"]
        if (
            not isinstance(corridor, str)
            or not 0 < len(corridor) <= _CORRIDOR_MAX
            or "|" in corridor
        ):
            raise Unprocessable("invalid_value", "corridor is not a short name")
        if corridor == PROBE:
            return None
        return _counted_event(stage, corridor, found)
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise Unprocessable(
            "invalid_value", f"not a {stage} order: {type(error).__name__}"
        ) from None


def _counted_event(stage: SaleStage, corridor: str, found: Mapping[str, Any]) -> CountedEvent:
    if stage == "placed":
        currency = found["currency"]
        if currency not in EXPONENTS:
            raise Unprocessable("invalid_value", "currency is not one of those supported")
        return CountedEvent(stage, corridor, currency)
    if stage == "fulfilled":
        goods, paid = _money(found["goods_value"]), _money(found["amount_paid"])
        # Refuses two currencies in one order: they cannot share a row.
        paid_minor = (paid + Money.zero(goods.currency)).minor
        return CountedEvent(stage, corridor, goods.currency, goods.minor, paid_minor)
    if stage in _GIVEN_BACK:
        goods = _money(found["goods_value"])
        return CountedEvent(stage, corridor, goods.currency, goods.minor)
    return CountedEvent(stage, corridor, NO_CURRENCY)


def _money(found: Mapping[str, Any]) -> Money:
    return Money.of(found["amount"], found["currency"])


def keys_of(partition: int, at_ms: int, newest_ms: int, event: CountedEvent) -> list[Key]:
    """The rows an event of time `at_ms` counts in: its minute and its hour, as long as they are kept."""
    at_s = at_ms // 1000
    corridor, currency = event.corridor, event.currency
    every = [Key(partition, size, at_s - at_s % s, corridor, currency) for size, s in SIZES.items()]
    return [key for key in every if key.is_kept(newest_ms)]


def apply(row: Row | None, offset: int, at_ms: int, event: CountedEvent) -> Row:
    """The row with one more event; nothing changes if its offset was folded in before."""
    was = row or _EMPTY
    if offset <= was.offset:
        return was
    stage, goods = event.stage, event.goods_minor
    sold = stage == "fulfilled"
    return Row(
        offset=offset,
        at_ms=max(was.at_ms, at_ms),
        placed=was.placed + (stage == "placed"),
        fulfilled=was.fulfilled + sold,
        rejected=was.rejected + (stage == "rejected"),
        cancelled=was.cancelled + (stage == "cancelled"),
        partly_returned=was.partly_returned + (stage == "partly_returned"),
        returned=was.returned + (stage == "returned"),
        verified_minor=was.verified_minor + (goods if sold else 0),
        paid_minor=was.paid_minor + event.paid_minor,
        returned_minor=was.returned_minor + (goods if stage in _GIVEN_BACK else 0),
    )


_EMPTY: Final = Row()


def result_key(key: Key) -> bytes:
    """`<window_start>|<size>|<corridor>|<currency>|<partition>`, the key on `streams.sales`."""
    return f"{_time(key.start_s)}|{key.size}|{key.corridor}|{key.currency}|{key.partition}".encode()


def result_of(key: Key, row: Row, updated_at: datetime) -> bytes:
    """The value on `streams.sales`: one partition's part of a window; a reader adds the parts up."""
    exponent = EXPONENTS.get(key.currency, 0)
    return orjson.dumps(
        {
            "window_start": _time(key.start_s),
            "window_end": _time(key.end_s),
            "size": key.size,
            "corridor": key.corridor,
            "currency": key.currency,
            "partition": key.partition,
            "offset": row.offset,
            **{stage: getattr(row, stage) for stage in SALE_STAGES.values()},
            "verified_goods_value": _major(row.verified_minor, exponent),
            "amount_paid": _major(row.paid_minor, exponent),
            "returned_goods_value": _major(row.returned_minor, exponent),
            "last_event_at": rfc3339(datetime.fromtimestamp(row.at_ms / 1000, UTC)).decode(),
            "updated_at": rfc3339(updated_at).decode(),
        }
    )


@lru_cache(maxsize=256)
def _time(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _major(minor: int, exponent: int) -> str:
    if exponent == 0:
        return str(minor)
    whole, rest = divmod(minor, 10**exponent)
    return f"{whole}.{rest:0{exponent}d}"


@dataclass(slots=True)
class Total:
    """What a reader of `streams.sales` adds up for one corridor; amounts in minor units by currency."""

    counts: Counter[SaleStage] = field(default_factory=Counter)
    verified_minor: Counter[str] = field(default_factory=Counter)
    paid_minor: Counter[str] = field(default_factory=Counter)
    returned_minor: Counter[str] = field(default_factory=Counter)

    def add(self, found: Mapping[str, Any]) -> None:
        """One more window's part."""
        for stage in SALE_STAGES.values():
            self.counts[stage] += found.get(
                stage, 0
            )  # a row of an earlier release has no partial returns
        currency = found["currency"]
        if currency == NO_CURRENCY:
            return
        self.verified_minor[currency] += Money.of(found["verified_goods_value"], currency).minor
        self.paid_minor[currency] += Money.of(found["amount_paid"], currency).minor
        self.returned_minor[currency] += Money.of(found["returned_goods_value"], currency).minor


def totals_of(
    records: Iterable[tuple[bytes | None, bytes | None]], size: Size = "hour", since_s: int = 0
) -> dict[str, Total]:
    """Per corridor, all windows of one size added up, from the (key, value) records of `streams.sales`.

    `since_s`: only windows that begin then or later, seconds since 1970 UTC.

    Of the records with one key the one with the greatest offset counts: after a crash a worker may repeat an
    earlier state before it catches up. The sizes count the same orders, so only one of them may be added up.
    """
    newest: dict[bytes, dict[str, Any]] = {}
    since = _time(since_s)
    for key, value in records:
        if key is None or value is None:
            continue
        found = orjson.loads(value)
        if found["size"] != size or found["window_start"] < since:
            continue
        if key not in newest or found["offset"] >= newest[key]["offset"]:
            newest[key] = found
    totals: dict[str, Total] = {}
    for found in newest.values():
        totals.setdefault(found["corridor"], Total()).add(found)
    return dict(sorted(totals.items()))
