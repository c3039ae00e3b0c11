"""The records of `streams.sales`: how a row is written, and how a reader adds records up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import orjson

from services.orders.domain.sales import NO_CURRENCY, SALE_STAGES, Key, Row, SaleStage, Size
from shared.envelope import rfc3339
from shared.money import EXPONENTS, Money


def result_key(key: Key) -> bytes:
    """Return `<window_start>|<size>|<corridor>|<currency>|<partition>`."""
    return f"{_time(key.start_s)}|{key.size}|{key.corridor}|{key.currency}|{key.partition}".encode()


def result_of(key: Key, row: Row, updated_at: datetime) -> bytes:
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
    """The sums of one corridor; amounts in minor units by currency."""

    counts: Counter[SaleStage] = field(default_factory=Counter)
    verified_minor: Counter[str] = field(default_factory=Counter)
    paid_minor: Counter[str] = field(default_factory=Counter)
    returned_minor: Counter[str] = field(default_factory=Counter)

    def add(self, part: Mapping[str, Any]) -> None:
        for stage in SALE_STAGES.values():
            # Rows of an earlier release have no partial returns.
            self.counts[stage] += part.get(stage, 0)
        currency = part["currency"]
        if currency == NO_CURRENCY:
            return
        self.verified_minor[currency] += Money.of(part["verified_goods_value"], currency).minor
        self.paid_minor[currency] += Money.of(part["amount_paid"], currency).minor
        self.returned_minor[currency] += Money.of(part["returned_goods_value"], currency).minor


def totals_of(
    records: Iterable[tuple[bytes | None, bytes | None]], size: Size = "hour", since_s: int = 0
) -> dict[str, Total]:
    """Return the sums of each corridor over the (key, value) records of one window size.

    `since_s`: only windows that start then or later, in seconds since 1970 UTC. Of several records
    with one key that with the greatest offset counts: after a crash a worker may repeat an earlier
    state. Both sizes count the same orders, so only one of them may be added up.
    """
    newest: dict[bytes, dict[str, Any]] = {}
    since = _time(since_s)
    for key, value in records:
        if key is None or value is None:
            continue
        part = orjson.loads(value)
        if part["size"] != size or part["window_start"] < since:
            continue
        if key not in newest or part["offset"] >= newest[key]["offset"]:
            newest[key] = part
    totals: dict[str, Total] = {}
    for part in newest.values():
        totals.setdefault(part["corridor"], Total()).add(part)
    return dict(sorted(totals.items()))
