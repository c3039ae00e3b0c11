"""Verified sales and throughput by window: the rows that an event counts in, and the row
afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, Literal

import orjson

from services.orders.intake.placed_order import PROBE
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
"""The stage that each event type counts as; other types change no row."""


_GIVEN_BACK: Final = ("partly_returned", "returned")


SIZES: Final[Mapping[Size, int]] = {"minute": 60, "hour": 3600}
"""Seconds of a window; windows tumble and start at whole multiples since 1970 UTC."""


RETENTION_S: Final[Mapping[Size, int]] = {"minute": 2 * 86400, "hour": 40 * 86400}
"""Seconds behind its partition's newest record in which a window takes records; hours outlive
the topic."""


NO_CURRENCY: Final = "XXX"
"""ISO 4217 for "no currency": events of rejections and cancellations have no amount."""


_CORRIDOR_MAX: Final = 32


RECENT_IDS_MAX: Final = 4000
"""Twice the most records that a relay sends before it deletes them: the distance of a
repetition."""


@dataclass(frozen=True, slots=True)
class CountedEvent:
    """The counted fields of one event; amounts in minor units of `currency`."""

    stage: SaleStage
    corridor: str
    currency: str
    goods_minor: int = 0
    paid_minor: int = 0


@dataclass(frozen=True, slots=True)
class Key:
    """The key of a row: one source partition's part of a window, so each row has one writer."""

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
        """Return whether the window takes records; `newest_ms`: time of its partition's newest
        record."""
        return self.end_s + RETENTION_S[self.size] > newest_ms // 1000


@dataclass(frozen=True, slots=True)
class Row:
    """Counts and sums of one key; `offset` is the last applied one, `at_ms` the newest record's
    time."""

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
    """How far a source partition is applied: the next offset, and the newest record's time."""

    next: int
    newest_ms: int = 0

    def encode(self) -> bytes:
        return orjson.dumps({"next": self.next, "newest_ms": self.newest_ms})


class RecentIds:
    """The ids of a partition's last records: of two records with one id, the first counts.

    A relay that dies between sending and deleting sends its batch again.
    """

    def __init__(self) -> None:
        self._ids: dict[bytes, None] = {}

    def is_new(self, event_id: bytes | None) -> bool:
        """Remember the id; false if it was among the last SEEN_MAX.

        A record without one is always new.
        """
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


def parse(wire_type: bytes | None, value: bytes | None) -> CountedEvent | None:
    """Return what an event counts as; None for other types and for synthetic orders.

    Raises Unprocessable if the event does not fit its type. Only the needed fields are read.
    """
    stage = SALE_STAGES.get(wire_type or b"")
    if stage is None:
        return None
    try:
        event = orjson.loads(value or b"")
        corridor = event["corridor"]
        if not _is_short_name(corridor):
            raise Unprocessable("invalid_value", "corridor is not a short name")
        if corridor == PROBE:
            return None
        return _counted_event(stage, corridor, event)
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise Unprocessable(
            "invalid_value", f"not a {stage} order: {type(error).__name__}"
        ) from None


def _is_short_name(corridor: Any) -> bool:
    return isinstance(corridor, str) and 0 < len(corridor) <= _CORRIDOR_MAX and "|" not in corridor


def _counted_event(stage: SaleStage, corridor: str, event: Mapping[str, Any]) -> CountedEvent:
    if stage == "placed":
        currency = event["currency"]
        if currency not in EXPONENTS:
            raise Unprocessable("invalid_value", "currency is not one of those supported")
        return CountedEvent(stage, corridor, currency)
    if stage == "fulfilled":
        goods, paid = _money(event["goods_value"]), _money(event["amount_paid"])
        # Adding refuses two currencies in one order: they cannot share a row.
        paid_minor = (paid + Money.zero(goods.currency)).minor
        return CountedEvent(stage, corridor, goods.currency, goods.minor, paid_minor)
    if stage in _GIVEN_BACK:
        goods = _money(event["goods_value"])
        return CountedEvent(stage, corridor, goods.currency, goods.minor)
    return CountedEvent(stage, corridor, NO_CURRENCY)


def _money(amount: Mapping[str, Any]) -> Money:
    return Money.of(amount["amount"], amount["currency"])


def keys_of(partition: int, at_ms: int, newest_ms: int, event: CountedEvent) -> list[Key]:
    at_s = at_ms // 1000
    corridor, currency = event.corridor, event.currency
    every = [Key(partition, size, at_s - at_s % s, corridor, currency) for size, s in SIZES.items()]
    return [key for key in every if key.is_kept(newest_ms)]


def apply(row: Row | None, offset: int, at_ms: int, event: CountedEvent) -> Row:
    """Return the row with one more event; unchanged if its offset was applied before."""
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


def windows_at(now_s: int) -> Iterator[tuple[str, Size, int]]:
    for size, width in SIZES.items():
        start_s = now_s - now_s % width
        yield size, size, start_s
        yield f"{size}_before", size, start_s - width
