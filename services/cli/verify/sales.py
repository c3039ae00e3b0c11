"""The stream of sales against the log of orders, hour by hour."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from services.cli import topic_reader
from services.cli.connect import RunningStack
from services.cli.verify.findings import Finding
from shared.envelope import Record, first_headers
from shared.money import Money

HOUR_S: Final = 3600


@dataclass
class SalesCount:
    """Orders by hour, corridor and stage, and fulfilled goods in minor units by currency.

    Hours begin at seconds since 1970 UTC.
    `cut`: partitions that lost their beginning and of which no record was seen yet.
    `whole_from_s`: begin of the first hour of which nothing is lost.
    """

    stages: Mapping[bytes, str]
    synthetic: str
    orders: Counter[tuple[int, str, str]] = field(default_factory=Counter)
    minor: Counter[tuple[int, str, str]] = field(default_factory=Counter)
    cut: set[topic_reader.Place] = field(default_factory=set)
    whole_from_s: int = 0

    def see(self, record: Record) -> None:
        """See the next record; in a cut log the hour of the first record is not whole."""
        place = (record.topic, record.partition)
        if place in self.cut:
            self.cut.discard(place)
            self.forgets_before(record.timestamp_ms)

    def add(self, record: Record) -> None:
        """Count a fact; synthetic orders and malformed facts are skipped, as the stream does."""
        wire_type = first_headers(record.headers).get("ce_type", b"")
        stage = self.stages.get(wire_type)
        if stage is None:
            return
        try:
            event = orjson.loads(record.value or b"")
            corridor, value = (
                event["corridor"],
                event["goods_value"] if stage == "fulfilled" else None,
            )
            goods = None if value is None else Money.of(value["amount"], value["currency"])
        except (ArithmeticError, KeyError, TypeError, ValueError):
            return
        if corridor == self.synthetic:
            return
        hour = record.timestamp_ms // 1000 // HOUR_S * HOUR_S
        self.orders[hour, corridor, stage] += 1
        if goods is not None:
            self.minor[hour, corridor, goods.currency] += goods.minor

    def forgets_before(self, first_ms: int) -> None:
        self.whole_from_s = max(self.whole_from_s, (first_ms // 1000 // HOUR_S + 1) * HOUR_S)


def new_sales_count() -> SalesCount | None:
    """Return an empty count; None where the streams are no part of this installation."""
    try:
        from services.orders.domain.sales import SALE_STAGES
        from services.orders.intake.placed_order import PROBE
    except ModuleNotFoundError:
        return None
    return SalesCount(SALE_STAGES, PROBE)


async def sales_finding(to: RunningStack, sold: SalesCount | None) -> Finding:
    """Compare the stream of sales with the log of orders, but for synthetic orders.

    Both logs lose old records, at different times: hours cut in one are left out.
    """
    from shared.topics import SALES

    name, says = (
        "sales_are_fulfilled_orders",
        "the stream of verified sales counts other orders than were fulfilled",
    )
    # A worker that is down catches up when it runs again; `programs` reports it first.
    if to.known.get("programs", {}).get("streams", {}).get("state") != "running":
        return Finding(name, says, skipped="no streams worker is known to run")
    if sold is None:
        return Finding(name, says, skipped="the streams are not part of this installation")
    from services.orders.domain.sales_results import totals_of

    sold.cut |= {
        place for place, (first, _) in (await topic_reader.ends(to, [SALES])).items() if first > 0
    }
    rows = []
    async for record in topic_reader.read(to, [SALES]):
        sold.see(record)
        rows.append((record.key, record.value))
    return Finding(
        name, says, tuple(_differences(sold, totals_of(rows, since_s=sold.whole_from_s)))
    )


def _differences(sold: SalesCount, totals: Mapping[str, Any]) -> list[str]:
    orders, minor = _whole(sold.orders, sold.whole_from_s), _whole(sold.minor, sold.whole_from_s)
    stages = list(dict.fromkeys(sold.stages.values()))
    differences = []
    for corridor in sorted({corridor for corridor, _ in orders} | set(totals)):
        streamed = totals.get(corridor)
        counts = streamed.counts if streamed else Counter[str]()
        for stage in stages:
            count, in_stream = orders[corridor, stage], counts[stage]
            if count != in_stream:
                title = stage.replace("_", " ")
                differences.append(
                    f"corridor {corridor}: {count} orders {title}, {in_stream} in the stream"
                )
        sums = _not_zero({what: m for (name, what), m in minor.items() if name == corridor})
        in_stream_sums = _not_zero(streamed.verified_minor) if streamed else {}
        if sums != in_stream_sums:
            differences.append(
                f"corridor {corridor}: goods of {sums} minor units fulfilled, "
                f"{in_stream_sums} in the stream"
            )
    return differences


def _whole(by_hour: Counter[tuple[int, str, str]], since_s: int) -> Counter[tuple[str, str]]:
    total = Counter[tuple[str, str]]()
    for (hour, corridor, what), n in by_hour.items():
        if hour >= since_s:
            total[corridor, what] += n
    return total


def _not_zero(sums: Mapping[str, int]) -> dict[str, int]:
    return {name: n for name, n in sums.items() if n}
