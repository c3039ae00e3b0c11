"""docs/events.md: every topic, every event with its fields, and its subscribers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from types import ModuleType, NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin
from uuid import UUID

from pydantic import BaseModel

from services.customs import handlers as customs_handlers
from services.customs import waybill
from services.orders import handlers as orders_handlers
from services.orders.intake import submission
from services.orders.intake.commands import REASONS
from services.payments import handlers as payments_handlers
from services.tax import handlers as tax_handlers
from shared import topics
from shared.decompression import UNPACKED_MAX
from shared.events import EVENT_TYPES, Event, customs, logistics, orders, payments, tax
from shared.money import Money
from shared.subscriptions import Subscriptions

HEAD: Final = """# Topics and events

Written by `python -m deploy.docs` from [shared/topics.py](../shared/topics.py),
[shared/events/](../shared/events) and each service's `SUBSCRIPTIONS` (`services/*/handlers.py`).

**Envelope**: CloudEvents 1.0, binary mode: headers `ce_specversion`, `ce_id`, `ce_type`,
`ce_source`, `ce_time` and `content-type`. Events also have `order_version` (+1 per event of one
order by one service, from 1, without gaps), `ce_causationid` (the `ce_id` of the cause) and,
where the cause had one, `traceparent`. The key of an event is the order's id. The value is JSON:
money is `{"amount": "425.00", "currency": "CNY"}`, decimals are strings, times RFC 3339. A
published type is never edited: a new meaning is a `v2`. Unknown fields are ignored.
"""
SUBSCRIPTIONS: Final[Mapping[str, Subscriptions]] = {
    "orders": orders_handlers.SUBSCRIPTIONS,
    "payments": payments_handlers.SUBSCRIPTIONS,
    "tax": tax_handlers.SUBSCRIPTIONS,
    "customs": customs_handlers.SUBSCRIPTIONS,
}
PUBLISHERS: Final[tuple[tuple[str, ModuleType], ...]] = (
    (topics.ORDERS, orders),
    (topics.PAYMENTS, payments),
    (topics.TAX, tax),
    (topics.CUSTOMS, customs),
)
FROM_OUTSIDE: Final[tuple[tuple[str, str, type[BaseModel]], ...]] = (
    (topics.SUBMISSIONS, "order.submitted.v1", submission.Submission),
    (topics.WAYBILLS, logistics.WaybillIssued.type, waybill.WireWaybill),
    (topics.WAYBILLS, logistics.WaybillDelivered.type, waybill.WireDelivered),
)
"""Records of shops and carriers, which have persons in clear."""

RETENTION: Final = """\
A record is deleted with its segment: a day later at most, for a topic with persons in clear. Add
no partitions; `crossborder doctor` lists the topics that have others than at their creation.
Services go on writing to the first 12 only, so an order's events stay in order. A shop's client
would use all of them."""

OUTSIDE: Final = """## From outside

A record without headers on `orders.submissions` counts as `order.submitted.v1`. A
`CEB311Message` is read as [ceb311-intake.md](ceb311-intake.md) says. Values are UTF-8, with or
without a byte order mark. An order has the limits of the last system on its way: 20 characters
for an item number, and for an import 200 for region, city and address together.

The broker stamps these records on arrival (`LogAppendTime`), so a shop's clock decides neither
their time nor their retention. Where a topic has `CreateTime`, milliseconds are expected. A time
in the future, or more than a day ago, counts as now. Where the platform or carrier has a key,
the header `party_signature` has its signature ([access.md](access.md)).

`order.cancel-requested.v1` and `return.requested.v1` (in the header `ce_type`) name their order:
`{"platform": {"code": "…"}, "order_no": "…", "reason": "…"}`. The reasons REASONS are shown as
they are. Any other text may name persons, so events and the timeline have its length only. No
text in these requests can make them invalid: only the order's number, the platform's code and
the lines must be sound.

A waybill's `pack_count` is 1 for an import, whose list has room for one parcel, and up to 999
for an export. `authority.declarations` and `authority.receipts` have the authority's own XML:
CEB621, 603, 623, 605, 625, 213, 701 out; CEB622, 604, 624, 606, 626, 214, 816, 818, 702, 792 and
900 in.
"""
WORDS: Final[Mapping[Any, str]] = {
    str: "text",
    int: "integer",
    bool: "true or false",
    bytes: "bytes, base64",
    Decimal: "decimal, as text",
    datetime: "time",
    UUID: "UUID",
    Money: "money",
    NoneType: "null",
}


def page() -> str:
    lines = [HEAD, *_topics(), *_outside()]
    for topic, module in PUBLISHERS:
        lines += [
            f"## `{topic}`",
            "",
            f"{_sentence(module)} [{_path(module)}](../{_path(module)})",
            "",
        ]
        for kind in _published_by(module):
            lines += _event(topic, kind)
    lines += [
        "## Parts",
        "",
        "The parts of these events.",
        "",
        *_described(_parts(EVENT_TYPES.values())),
    ]
    return "\n".join(lines)


def _topics() -> list[str]:
    largest = topics.MESSAGE_BYTES_MAX // 1024 // 1024
    unpacked = UNPACKED_MAX // 1024 // 1024
    receipts = topics.RECEIPT_BYTES_MAX // 1024 // 1024
    bound = (
        f"no record above {largest} MiB, in `{topics.RECEIPTS}` none above {receipts} MiB "
        "(`crossborder topics` and each start raise the limit of an older topic); a batch has at "
        f"most {unpacked} MiB unpacked, whether compressed (gzip, snappy, lz4, zstd) or not"
    )
    lines = ["## Topics", "", f"{topics.PARTITIONS} partitions each; {bound}.", "", RETENTION, ""]
    lines += ["| topic | written by | read by | kept | persons in clear |", "|---|---|---|---|---|"]
    for topic in topics.TOPICS:
        retention = (
            "compacted"
            if topic.cleanup == "compact"
            else f"{topic.retention_ms // topics.DAY_MS} days"
        )
        row = (
            f"`{topic.name}`",
            ", ".join(topic.writers),
            ", ".join(topic.readers),
            retention,
            "yes" if topic.personal else "no",
        )
        lines.append(f"| {' | '.join(row)} |")
    return [*lines, ""]


def _outside() -> list[str]:
    lines = [OUTSIDE.replace("REASONS", ", ".join(f"`{reason}`" for reason in REASONS))]
    for topic, wire_type, kind in FROM_OUTSIDE:
        lines += [f"### `{wire_type}` on `{topic}`", "", *_fields(kind)]
    return [*lines, *_described(_parts(kind for _, _, kind in FROM_OUTSIDE))]


def _event(topic: str, kind: type[Event]) -> list[str]:
    readers = [
        name for name, table in SUBSCRIPTIONS.items() if kind in table.event_types.get(topic, ())
    ]
    by = ", ".join(readers) or "no service: it is for the timeline, the streams and outside readers"
    return [
        f"### `{kind.type}` {kind.__name__}",
        "",
        _sentence(kind),
        "",
        f"Handled by {by}.",
        "",
        *_fields(kind),
    ]


def _published_by(module: ModuleType) -> list[type[Event]]:
    return [kind for kind in EVENT_TYPES.values() if kind.__module__ == module.__name__]


def _fields(kind: type[BaseModel]) -> list[str]:
    rows = [
        f"| `{name}` | {_type(field.annotation)}{'' if field.is_required() else ', optional'} |"
        for name, field in kind.model_fields.items()
    ]
    return ["| field | type |", "|---|---|", *rows, ""]


def _described(parts: Iterable[type[BaseModel]]) -> Iterator[str]:
    for part in sorted(parts, key=lambda kind: kind.__name__):
        yield from (f"### {part.__name__}", "", _sentence(part), "", *_fields(part))


def _type(note: Any) -> str:
    """Return the name of a type for a reader of JSON."""
    origin, inside = get_origin(note), get_args(note)
    if origin is Annotated:
        return _type(inside[0])
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in inside)
    if origin is tuple:
        return f"list of {_type(inside[0])}"
    if origin in (Union, UnionType):
        return " or ".join(_type(part) for part in inside)
    return WORDS.get(note, note.__name__)


def _parts(kinds: Iterable[type[BaseModel]]) -> set[type[BaseModel]]:
    parts: set[type[BaseModel]] = set()
    for kind in kinds:
        for field in kind.model_fields.values():
            inside = {
                part
                for part in _within(field.annotation)
                if isinstance(part, type) and issubclass(part, BaseModel)
            }
            parts |= inside | _parts(inside - parts)
    return parts


def _within(note: Any) -> Iterator[Any]:
    yield note
    for part in get_args(note):
        yield from _within(part)


def _sentence(of: Any) -> str:
    return " ".join((of.__doc__ or "").split())


def _path(module: ModuleType) -> str:
    return module.__name__.replace(".", "/") + ".py"
