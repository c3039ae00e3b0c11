"""docs/events.md: every topic, every fact and its fields, and who hears it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from types import ModuleType, NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin
from uuid import UUID

from pydantic import BaseModel

from services.customs import handlers as customs_reactions
from services.customs import waybill
from services.orders import handlers as orders_reactions
from services.orders.intake import submission
from services.orders.intake.decoding import REASONS
from services.payments import handlers as payments_reactions
from services.tax import handlers as tax_reactions
from shared import topics
from shared.decompression import UNPACKED_MAX
from shared.events import EVENT_TYPES, Event, customs, logistics, orders, payments, tax
from shared.money import Money
from shared.subscriptions import Subscriptions

HEAD: Final = """# Topics and events

Written by `python -m deploy.docs` from [shared/topics.py](../shared/topics.py), [shared/events/](../shared/events) and each
service's `SUBSCRIPTIONS` (`services/*/handlers.py`).

**Envelope**: CloudEvents 1.0, binary mode: headers `ce_specversion`, `ce_id`, `ce_type`, `ce_source`, `ce_time`,
`content-type`; facts also have `order_version` (+1 per fact of one order by one service, from 1, no hole), `ce_causationid`
(the `ce_id` of what it follows from) and, where the cause had one, `traceparent`. The key of a fact is the order's id. The
value is JSON: money is `{"amount": "425.00", "currency": "CNY"}`, decimals are strings, times RFC 3339. A published type is
never edited: a new meaning is a `v2`. Unknown fields are ignored.
"""
SUBSCRIPTIONS: Final[Mapping[str, Subscriptions]] = {
    "orders": orders_reactions.SUBSCRIPTIONS,
    "payments": payments_reactions.SUBSCRIPTIONS,
    "tax": tax_reactions.SUBSCRIPTIONS,
    "customs": customs_reactions.SUBSCRIPTIONS,
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
"""What shops and carriers write: these carry persons in clear, which end here."""

KEPT: Final = """A record is deleted with the segment it is in: of a topic with persons in clear, a day later at most. Add no
partitions: `crossborder doctor` tells which topics have others than they were made with. Services go on writing to the first
12 only, so an order's facts stay in order; a shop's client would use all of them."""

OUTSIDE: Final = """## From outside

A record without headers on `orders.submissions` is taken as `order.submitted.v1`; a value that is a `CEB311Message` is read
as [ceb311-intake.md](ceb311-intake.md) says. Values are UTF-8, with or without a byte order mark. An order has the limits of
the last system on its way: an item number of 20 characters, of an import 200 for region, city and address together. The
broker stamps these records as they come (`LogAppendTime`): a shop's clock says nothing of when they came, or how long they
are kept. Where a topic was set to `CreateTime`, milliseconds are expected; later than now, or a day ago, counts as now.
Where the platform or carrier has a key, the header `party_signature` has its signature ([access.md](access.md)).
`order.cancel-requested.v1` and `return.requested.v1` (in the header `ce_type`)
name their order: `{"platform": {"code": "…"}, "order_no": "…", "reason": "…"}`. The reasons
REASONS are shown as
they are; of any other text, which may name persons, facts and the timeline have the length. No text in them vetoes them:
only the order's number, the platform's code and the lines must be sound. A waybill's `pack_count` is 1 for an import, whose
list has room for one parcel, and up to 999 for an export. `authority.declarations` and
`authority.receipts` carry the authority's own XML: CEB621, 603, 623, 605, 625, 213, 701 out; CEB622, 604, 624, 606, 626,
214, 816, 818, 702, 792 and 900 in.
"""
WORDS: Final[Mapping[Any, str]] = {
    str: "text", int: "integer", bool: "true or false", bytes: "bytes, base64", Decimal: "decimal, as text", datetime: "time",
    UUID: "UUID", Money: "money", NoneType: "null",
}  # fmt: skip


def page() -> str:
    """The text of docs/events.md."""
    lines = [HEAD, *_topics(), *_outside()]
    for topic, module in PUBLISHERS:
        lines += [
            f"## `{topic}`",
            "",
            f"{_sentence(module)} [{_path(module)}](../{_path(module)})",
            "",
        ]
        for kind in _said_by(module):
            lines += _event(topic, kind)
    lines += [
        "## Parts",
        "",
        "What these facts are made of.",
        "",
        *_described(_parts(EVENT_TYPES.values())),
    ]
    return "\n".join(lines)


def _topics() -> list[str]:
    largest = topics.MESSAGE_BYTES_MAX // 1024 // 1024
    unpacked = UNPACKED_MAX // 1024 // 1024
    receipts = topics.RECEIPT_BYTES_MAX // 1024 // 1024
    bound = (
        f"no record above {largest} MiB, in `{topics.RECEIPTS}` none above {receipts} MiB (`crossborder topics` and each start "
        f"raise the limit of a topic that was made earlier); compressed by gzip, snappy, lz4, zstd or not, a batch to {unpacked} MiB "
        "unpacked at most"
    )
    lines = ["## Topics", "", f"{topics.PARTITIONS} partitions each; {bound}.", "", KEPT, ""]
    lines += ["| topic | written by | read by | kept | persons in clear |", "|---|---|---|---|---|"]
    for topic in topics.TOPICS:
        kept = (
            "compacted"
            if topic.cleanup == "compact"
            else f"{topic.retention_ms // topics.DAY_MS} days"
        )
        row = (
            f"`{topic.name}`",
            ", ".join(topic.writers),
            ", ".join(topic.readers),
            kept,
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
    by = (
        ", ".join(readers)
        or "nobody inside: it is for the timeline, the streams and whoever follows the topic"
    )
    return [
        f"### `{kind.type}` {kind.__name__}",
        "",
        _sentence(kind),
        "",
        f"Heard by {by}.",
        "",
        *_fields(kind),
    ]


def _said_by(module: ModuleType) -> list[type[Event]]:
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
    """A type as a reader of JSON knows it."""
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
    """The models inside these, however deep."""
    found: set[type[BaseModel]] = set()
    for kind in kinds:
        for field in kind.model_fields.values():
            inside = {
                part
                for part in _within(field.annotation)
                if isinstance(part, type) and issubclass(part, BaseModel)
            }
            found |= inside | _parts(inside - found)
    return found


def _within(note: Any) -> Iterator[Any]:
    yield note
    for part in get_args(note):
        yield from _within(part)


def _sentence(of: Any) -> str:
    return " ".join((of.__doc__ or "").split())


def _path(module: ModuleType) -> str:
    return module.__name__.replace(".", "/") + ".py"
