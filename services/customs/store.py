"""Customs' SQL."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import Any, Final, TypeVar
from uuid import UUID

import orjson
from pydantic import TypeAdapter

from services.customs.ceb.entries import Bill, Notice
from services.customs.domain.declaration import BLANK, OVER, Answer, Declaration, Kind, State
from services.customs.domain.numbers import cop_no_of
from services.customs.domain.returns import Return
from shared.database import Connection, copied
from shared.events.base import Event
from shared.events.customs import ReturnedLine
from shared.events.logistics import WaybillIssued
from shared.events.orders import OrderPlaced, ReturnPart
from shared.events.payments import PaymentCaptured
from shared.events.tax import TaxAssessed
from shared.money import Money
from shared.values import replace

AnyEvent = TypeVar("AnyEvent", bound=Event)


@dataclass(frozen=True, slots=True)
class Waiting:
    """One entry of the open batches."""

    order_id: UUID
    kind: Kind
    group_key: str
    since: datetime
    part: UUID | None = None


async def lock(conn: Connection, order_ids: Collection[UUID]) -> dict[UUID, Declaration]:
    """The declarations of these orders, locked in one order; an order without one is not in the answer.

    Their documents are named in `present` but not read: only a match and a list need them, and `with_documents` adds them.
    """
    rows = await conn.fetch(_SELECTED + "FOR UPDATE", list(order_ids))
    return {row["order_id"]: _declaration(row) for row in rows}


_SELECTED: Final = (
    "SELECT order_id, state, version, attempt, stored, released, cancel_refused, invt_no, pre_no, status, batch_id, message_guid, "
    "group_key, direction, present, spared, waits_since FROM declaration "
    "WHERE order_id = ANY($1::uuid[]) ORDER BY order_id "
)


def _declaration(row: Mapping[str, Any]) -> Declaration:
    return replace(
        BLANK, order_id=row["order_id"], state=State(row["state"]), version=row["version"], attempt=row["attempt"], stored=row["stored"],
        released=row["released"], cancel_refused=row["cancel_refused"], invt_no=row["invt_no"], pre_no=row["pre_no"],
        status=row["status"], group_key=row["group_key"], batch_id=row["batch_id"], message_guid=row["message_guid"],
        direction=row["direction"], present=frozenset(row["present"]), spared=row["spared"], waits_since=row["waits_since"],
    )  # fmt: skip


async def with_documents(
    conn: Connection, found: Mapping[UUID, Declaration], *, without: Collection[str] = ("tax",)
) -> dict[UUID, Declaration]:
    """These declarations with the documents a match compares; the rows must be locked already.

    The assessment is kept for people and never compared, so it stays where it is. So do others that the caller does not need.
    """
    rows = await conn.fetch(
        "SELECT order_id, kind, doc, 0::bigint AS id FROM document WHERE order_id = ANY($1::uuid[]) AND kind <> ALL($2::text[]) "
        "UNION ALL SELECT order_id, 'waybill', doc, id FROM later_waybill WHERE order_id = ANY($1::uuid[])",
        list(found), list(without),
    )  # fmt: skip
    documents: dict[UUID, dict[str, bytes]] = {}
    for row in sorted(rows, key=_ID):  # the newest waybill counts
        documents.setdefault(row["order_id"], {})[row["kind"]] = row["doc"]
    return {order_id: _filled(d, documents.get(order_id, {})) for order_id, d in found.items()}


_ID: Final = itemgetter("id")


async def with_returns(
    conn: Connection, found: Mapping[UUID, Declaration]
) -> dict[UUID, Declaration]:
    """These declarations with all that a return is judged by: every document, earlier returns, and when the goods were
    released, by the authority's own time. Rare beside the ordinary way of an order, so it may cost three queries."""
    if not found:
        return {}
    ids = list(found)
    filled = await with_documents(conn, found)
    taxes = await conn.fetch(
        "SELECT order_id, doc FROM document WHERE order_id = ANY($1::uuid[]) AND kind = 'tax'", ids
    )
    released = await conn.fetch(
        "SELECT order_id, min(at) AS at FROM receipt WHERE order_id = ANY($1::uuid[]) AND followed AND status IN ('800', '899') "
        "AND message_type IN ('CEB622', 'CEB604') GROUP BY order_id",
        ids,
    )
    rows = await conn.fetch(
        "SELECT * FROM goods_return WHERE order_id = ANY($1::uuid[]) ORDER BY order_id, return_no",
        ids,
    )
    past: dict[UUID, list[Return]] = {}
    for row in rows:
        past.setdefault(row["order_id"], []).append(_return(row))
    tax = {row["order_id"]: row["doc"] for row in taxes}
    released_at = {row["order_id"]: row["at"] for row in released}
    return {
        order_id: replace(
            d,
            tax=_read(TaxAssessed, tax.get(order_id)),
            released_at=released_at.get(order_id),
            returns=tuple(past.get(order_id, ())),
        )
        for order_id, d in filled.items()
    }


async def list_open_returns(conn: Connection, applied_before: datetime, most: int) -> list[UUID]:
    """The orders with a return applied for before then that is still open, the oldest first."""
    rows = await conn.fetch(
        "SELECT order_id FROM goods_return WHERE state IN ('asked', 'granted') AND applied_at < $1 AND order_id <> ALL "
        "(ARRAY(SELECT subject::uuid FROM aside WHERE source = 'returns' AND retry_at > now())) ORDER BY applied_at LIMIT $2",
        applied_before, most,
    )  # fmt: skip
    return [row["order_id"] for row in rows]


_PARTS: Final = TypeAdapter(tuple[ReturnPart, ...])
_LINES: Final = TypeAdapter(tuple[ReturnedLine, ...])


def _return(row: Mapping[str, Any]) -> Return:
    return Return(
        row["return_no"], row["state"], _PARTS.validate_json(row["parts"]), row["refund_if_late"], row["applied_at"], row["pre_no"],
        row["back_at"], _LINES.validate_json(row["lines"]),
    )  # fmt: skip


async def save_returns(conn: Connection, found: Sequence[tuple[UUID, Return]]) -> None:
    """Write returns; what was asked for stays, what became of it is new."""
    if not found:
        return
    r = [each for _, each in found]
    await conn.execute(
        """INSERT INTO goods_return AS t (order_id, return_no, state, parts, refund_if_late, applied_at, pre_no, back_at, lines)
           SELECT * FROM unnest($1::uuid[], $2::int[], $3::text[], $4::jsonb[], $5::bool[], $6::timestamptz[], $7::text[],
               $8::timestamptz[], $9::jsonb[])
           ON CONFLICT (order_id, return_no) DO UPDATE SET state = excluded.state, pre_no = excluded.pre_no,
               back_at = excluded.back_at, lines = excluded.lines""",
        [order_id for order_id, _ in found], [x.return_no for x in r], [x.state for x in r],
        [_PARTS.dump_json(x.parts).decode() for x in r], [x.refund_if_late for x in r], [x.applied_at for x in r],
        [x.pre_no for x in r], [x.back_at for x in r], [_LINES.dump_json(x.lines).decode() for x in r],
    )  # fmt: skip


def _filled(d: Declaration, there: Mapping[str, bytes]) -> Declaration:
    return replace(
        d, order=_read(OrderPlaced, there.get("order")), payment=_read(PaymentCaptured, there.get("payment")),
        waybill=_read(WaybillIssued, there.get("waybill")),
    )  # fmt: skip


def _read(kind: type[AnyEvent], value: bytes | None) -> AnyEvent | None:
    return None if value is None else kind.from_json(value)


async def orders_of(
    conn: Connection, cop_nos: Collection[str], invt_nos: Collection[str]
) -> tuple[dict[str, UUID], dict[str, UUID]]:
    """Which orders the numbers in a receipt belong to; numbers nobody knows are not in the answer."""
    rows = await conn.fetch(
        "SELECT order_id, cop_no, invt_no FROM declaration WHERE cop_no = ANY($1::text[]) OR invt_no = ANY($2::text[])",
        list(cop_nos), list(invt_nos),
    )  # fmt: skip
    return {r["cop_no"]: r["order_id"] for r in rows}, {
        r["invt_no"]: r["order_id"] for r in rows if r["invt_no"]
    }


async def orders_numbered(conn: Connection, pre_nos: Collection[str]) -> dict[str, UUID]:
    """Which orders the e-port's own numbers of lists belong to; one that two lists have is in no answer."""
    rows = await conn.fetch(
        "SELECT pre_no, array_agg(order_id) AS orders FROM declaration WHERE pre_no = ANY($1::text[]) GROUP BY pre_no",
        list(pre_nos),
    )
    return {row["pre_no"]: row["orders"][0] for row in rows if len(row["orders"]) == 1}


@dataclass(frozen=True, slots=True)
class Inside:
    """One request in a message of ours. `lists`: how many the message left with; `part`: as what of a message refused before;
    `tried`: the order that was named then, and whether it was refused alone."""

    order_id: UUID
    message_guid: str
    kind: Kind
    invt_no: str | None
    lists: int
    part: UUID | None
    tried: UUID | None
    tried_refused: bool | None


async def requests_in(conn: Connection, guids: Collection[str]) -> dict[str, list[Inside]]:
    """The latest requests of orders that left in these messages, as they stand in them."""
    rows = await conn.fetch(
        "SELECT d.order_id, d.message_guid, b.kind, d.invt_no, b.lists, b.part, "
        "p.tried, t.state = 'refused' AS tried_refused "
        "FROM declaration AS d JOIN batch AS b USING (message_guid) LEFT JOIN part AS p ON p.part = b.part "
        "LEFT JOIN declaration AS t ON t.order_id = p.tried WHERE d.message_guid = ANY($1::text[]) ORDER BY d.order_id",
        list(guids),
    )
    found: dict[str, list[Inside]] = {}
    for row in rows:
        found.setdefault(row["message_guid"], []).append(Inside(**row))
    return found


async def order_nos(conn: Connection, order_ids: Collection[UUID]) -> dict[UUID, str]:
    """The numbers of these orders, by their documents."""
    rows = await conn.fetch(
        "SELECT order_id, convert_from(doc, 'UTF8')::jsonb ->> 'order_no' AS order_no FROM document "
        "WHERE kind = 'order' AND order_id = ANY($1::uuid[])",
        list(order_ids),
    )
    return {row["order_id"]: row["order_no"] for row in rows}


async def add_parts(
    conn: Connection, guid: str, parts: Mapping[UUID, int], tried: UUID | None
) -> None:
    """Note what a message is divided into: each part with its number of lists."""
    await conn.executemany(
        "INSERT INTO part (part, message_guid, lists, tried) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        [(part, guid, lists, tried) for part, lists in parts.items()],
    )


async def save(
    conn: Connection,
    declarations: Sequence[Declaration],
    papers: Mapping[UUID, Mapping[str, bytes]],
    known: Collection[UUID],
) -> None:
    """Write the declarations, and the documents that came; one that is there already is never replaced.

    `known`: whose rows are there and locked by the caller; the others' orders are locked by the batch.
    """
    for is_known, query in ((False, _INSERT), (True, _UPDATE)):
        d = [x for x in declarations if (x.order_id in known) is is_known]
        if d:
            await conn.execute(
                query, [x.order_id for x in d], [x.state for x in d], [x.version for x in d], [x.direction for x in d],
                [",".join(sorted(x.present)) for x in d], [x.attempt for x in d], [x.stored for x in d], [x.released for x in d],
                [x.cancel_refused for x in d], [x.invt_no for x in d], [x.pre_no for x in d], [x.status for x in d],
                [x.batch_id for x in d], [x.message_guid for x in d], [x.group_key for x in d], [x.spared for x in d],
                [x.waits_since for x in d],
                *([] if is_known else [[cop_no_of(x.order_id) for x in d]]),
            )  # fmt: skip
    came = [
        (x.order_id, kind, doc)
        for x in declarations
        for kind, doc in papers.get(x.order_id, {}).items()
        if kind in x.present
    ]
    if came and not await copied(conn, "document", ("order_id", "kind", "doc"), came):
        await conn.execute(
            "INSERT INTO document (order_id, kind, doc) SELECT * FROM unnest($1::uuid[], $2::text[], $3::bytea[]) ON CONFLICT DO NOTHING",
            *map(list, zip(*came, strict=True)),
        )


Number = tuple[str, str, UUID]
"""A carrier, the number of one of its waybills, and the order that it is for."""


async def correct_waybills(
    conn: Connection, later: Sequence[tuple[UUID, bytes]], given_up: Collection[Number]
) -> None:
    """Write waybills that take the place of others; the numbers (of which carrier, by which order) that are free with it."""
    if later:
        await conn.execute(
            "INSERT INTO later_waybill (order_id, doc) SELECT * FROM unnest($1::uuid[], $2::bytea[])",
            *map(list, zip(*later, strict=True)),
        )
    if given_up:
        await conn.execute(
            "DELETE FROM waybill_number AS w USING unnest($1::text[], $2::text[], $3::uuid[]) AS x(c, n, o) "
            "WHERE w.logistics_code = x.c AND w.logistics_no = x.n AND w.order_id = x.o",
            *map(list, zip(*sorted(given_up), strict=True)),
        )  # fmt: skip


async def note_numbers(conn: Connection, numbers: Sequence[Number]) -> None:
    """The first order whose waybill has a number holds it; sorted, so that two replicas wait for one another and never deadlock."""
    if numbers:
        await conn.execute(
            "INSERT INTO waybill_number (logistics_code, logistics_no, order_id) "
            "SELECT * FROM unnest($1::text[], $2::text[], $3::uuid[]) ON CONFLICT DO NOTHING",
            *map(list, zip(*sorted(numbers, key=_NUMBER), strict=True)),
        )


async def claim_numbers(
    conn: Connection, wanted: Sequence[Number], live: Mapping[UUID, bool]
) -> set[UUID]:
    """Let orders that are about to be matched hold their numbers; returns those that may not: another live order holds it.

    An order is live once it is placed and until it is over; of those in hand the caller knows it by `live`.
    """
    if not wanted:
        return set()
    rows = await conn.fetch(
        "SELECT x.o, x.c, x.n, w.order_id AS holder, coalesce(d.state <> ALL($4::text[]) AND 'order' = ANY(d.present), false) AS is_live "
        "FROM unnest($1::text[], $2::text[], $3::uuid[]) AS x(c, n, o) "
        "LEFT JOIN waybill_number AS w ON w.logistics_code = x.c AND w.logistics_no = x.n "
        "LEFT JOIN declaration AS d ON d.order_id = w.order_id AND w.order_id <> x.o WHERE w.order_id IS DISTINCT FROM x.o",
        *map(list, zip(*wanted, strict=True)), list(OVER),
    )  # fmt: skip
    refused = set()
    for row in sorted(rows, key=itemgetter("c", "n")):
        holder = row["holder"]
        if holder is not None and live.get(holder, row["is_live"]):
            refused.add(row["o"])
            continue
        taken = await conn.fetchval(
            "INSERT INTO waybill_number AS w (logistics_code, logistics_no, order_id) VALUES ($1, $2, $3) "
            "ON CONFLICT (logistics_code, logistics_no) DO UPDATE SET order_id = excluded.order_id "
            "WHERE w.order_id IN ($3, $4) RETURNING order_id",
            row["c"], row["n"], row["o"], holder or row["o"],
        )  # fmt: skip
        refused |= set() if taken else {row["o"]}
    return refused


_NUMBER: Final = itemgetter(0, 1)


_ROWS: Final = (
    "unnest($1::uuid[], $2::text[], $3::int[], $4::text[], $5::text[], $6::int[], $7::bool[], $8::bool[], $9::bool[], $10::text[], "
    "$11::text[], $12::text[], $13::uuid[], $14::text[], $15::text[], $16::int[], $17::timestamptz[]"
)
_INSERT: Final = f"""
    INSERT INTO declaration (order_id, state, version, direction, present, attempt, stored, released, cancel_refused, invt_no, pre_no,
        status, batch_id, message_guid, group_key, spared, waits_since, cop_no)
    SELECT i, s, v, d, string_to_array(pr, ','), a, st, r, c, inn, pn, su, b, m, g, sp, ws, cn
    FROM {_ROWS}, $18::text[]) AS x(i, s, v, d, pr, a, st, r, c, inn, pn, su, b, m, g, sp, ws, cn)"""  # noqa: S608
_UPDATE: Final = f"""
    UPDATE declaration AS t SET state = x.s, version = x.v, direction = coalesce(t.direction, x.d),
        present = string_to_array(x.pr, ','), attempt = x.a, stored = x.st, released = x.r, cancel_refused = x.c, invt_no = x.inn,
        pre_no = x.pn, status = x.su, batch_id = x.b, message_guid = x.m, group_key = coalesce(t.group_key, x.g), spared = x.sp,
        waits_since = x.ws, updated_at = now()
    FROM {_ROWS}) AS x(i, s, v, d, pr, a, st, r, c, inn, pn, su, b, m, g, sp, ws) WHERE t.order_id = x.i"""  # noqa: S608


async def queue(conn: Connection, waiting: Sequence[Waiting], gone: Collection[UUID]) -> None:
    """Put declarations into the open batches of their groups, and take others out."""
    if gone:
        await conn.execute("DELETE FROM waiting WHERE order_id = ANY($1::uuid[])", list(gone))
    if waiting:
        await conn.execute(
            "INSERT INTO waiting (order_id, kind, group_key, since, part) "
            "SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[], $5::uuid[]) ON CONFLICT (order_id) "
            "DO UPDATE SET kind = excluded.kind, group_key = excluded.group_key, since = excluded.since, part = excluded.part",
            [w.order_id for w in waiting], [w.kind for w in waiting], [w.group_key for w in waiting], [w.since for w in waiting],
            [w.part for w in waiting],
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Due:
    """A group whose open batch must close, by size or by age; with `part`, what a message that was refused whole is divided into."""

    kind: Kind
    group_key: str
    count: int
    opened_at: datetime
    part: UUID | None = None


async def list_due(conn: Connection, size: int, age_s: float) -> list[Due]:
    """The groups with `size` entries waiting, or an entry that has waited for `age_s` seconds, and every part of a message."""
    rows = await conn.fetch(
        "SELECT kind, group_key, count(*) AS count, min(since) AS opened_at, part FROM waiting WHERE since <= now() "
        "GROUP BY kind, group_key, part "
        "HAVING part IS NOT NULL OR count(*) >= $1 OR min(since) <= now() - make_interval(secs => $2) ORDER BY min(since), group_key, part",
        size, age_s,
    )  # fmt: skip
    return [
        Due(row["kind"], row["group_key"], row["count"], row["opened_at"], row["part"])
        for row in rows
    ]


async def find_trial(conn: Connection, group_key: str | None) -> Due | None:
    """What waits longest in a group, or in any: one list alone is tried, whether or not its own pause is over."""
    row = await conn.fetchrow(
        "SELECT kind, group_key, since, part FROM waiting WHERE $1::text IS NULL OR group_key = $1 ORDER BY since LIMIT 1",
        group_key,
    )
    return None if row is None else Due(row["kind"], row["group_key"], 1, row["since"], row["part"])


@dataclass(frozen=True, slots=True)
class Batches:
    """The open batches of a kind: groups, those of them that are late, lists in them, and since when the oldest is open."""

    kind: Kind
    groups: int
    late: int
    lists: int
    oldest: datetime


async def count_waiting(conn: Connection, late_s: float) -> list[Batches]:
    """The open batches by kind; late is one whose first list waits longer than `late_s` seconds while lodging does not pause."""
    rows = await conn.fetch(
        "SELECT kind, count(*) AS groups, "
        "count(*) FILTER (WHERE oldest < now() - make_interval(secs => $1) "
        "AND NOT EXISTS (SELECT FROM pause WHERE scope IN ('*', group_key))) AS late, "
        "sum(lists)::bigint AS lists, min(oldest) AS oldest FROM (SELECT kind, group_key, count(*) AS lists, min(since) AS oldest "
        "FROM waiting WHERE since <= now() GROUP BY kind, group_key) AS g GROUP BY kind",
        late_s,
    )  # fmt: skip
    return [Batches(r["kind"], r["groups"], r["late"], r["lists"], r["oldest"]) for r in rows]


async def count_owed(conn: Connection) -> list[tuple[str, int, datetime | None]]:
    """What outside parties owe, and since when: waybills of placed orders, and a word on lodged lists. Reads all declarations.

    A list without a number that is to be taken back is owed one still: its cancellation cannot even be asked for without.
    """
    row = await conn.fetchrow(
        "SELECT count(*) FILTER (WHERE state <> 'collecting') AS lists, min(updated_at) FILTER (WHERE state <> 'collecting') AS lodged_at, "
        "count(*) FILTER (WHERE state = 'collecting') AS parcels, min(created_at) FILTER (WHERE state = 'collecting') AS placed_at "
        "FROM declaration WHERE state = 'lodged' OR (state = 'withdrawing' AND invt_no IS NULL) "
        "OR (state = 'collecting' AND 'order' = ANY(present) AND 'waybill' <> ALL(present))"
    )
    return [
        ("authority", row["lists"], row["lodged_at"]),
        ("carrier", row["parcels"], row["placed_at"]),
    ]


async def take(conn: Connection, due: Due, most: int) -> dict[UUID, Declaration]:
    """Take the longest waiting entries of a group or part out, up to `most`, and lock their declarations.

    Declarations another transaction has in hand are passed over: they are locked before their entry is, here as there.
    """
    rows = await conn.fetch(
        "SELECT order_id FROM waiting WHERE kind = $1 AND group_key = $2 AND part IS NOT DISTINCT FROM $4 "
        "AND since <= greatest(now(), $5) ORDER BY since LIMIT $3",
        due.kind, due.group_key, most, due.part, due.opened_at,
    )  # fmt: skip
    locked = await conn.fetch(
        _SELECTED + "FOR UPDATE SKIP LOCKED", [row["order_id"] for row in rows]
    )
    found = {row["order_id"]: _declaration(row) for row in locked}
    gone = await conn.fetch(
        "DELETE FROM waiting WHERE order_id = ANY($1::uuid[]) AND kind = $2 RETURNING order_id",
        list(found),
        due.kind,
    )
    return {row["order_id"]: found[row["order_id"]] for row in gone}


async def add_batch(
    conn: Connection,
    batch_id: UUID,
    due: Due,
    guid: str,
    message_type: str,
    lists: int,
    closed_by: str,
    at: datetime,
) -> None:
    await conn.execute(
        "INSERT INTO batch (batch_id, kind, group_key, message_guid, message_type, lists, closed_by, opened_at, lodged_at, part) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        batch_id, due.kind, due.group_key, guid, message_type, lists, closed_by, due.opened_at, at, due.part,
    )  # fmt: skip


async def add_receipts(
    conn: Connection, rows: Sequence[tuple[UUID, str, Answer, bool, datetime]]
) -> None:
    """Keep what the authority said: order, message type, answer, whether it changed anything, when."""
    await conn.copy_records_to_table(
        "receipt", columns=("order_id", "message_type", "status", "code", "info", "followed", "at", "invt_no"),
        records=[(order_id, kind, a.status, a.code, a.info, followed, at, a.invt_no) for order_id, kind, a, followed, at in rows],
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Heard:
    """One entry of a receipt as it was kept."""

    order_id: UUID
    message_type: str
    status: str
    code: str | None
    invt_no: str | None
    followed: bool
    at: datetime


async def list_receipts(conn: Connection, order_ids: Collection[UUID]) -> list[Heard]:
    """All that the authority said of these orders' lists, in the order it came."""
    rows = await conn.fetch(
        "SELECT order_id, message_type, status, code, invt_no, followed, at FROM receipt WHERE order_id = ANY($1::uuid[]) ORDER BY id",
        list(order_ids),
    )
    return [Heard(**row) for row in rows]


async def settle_unnumbered(conn: Connection) -> None:
    """Close the open cases of lists without a number whose number came."""
    await conn.execute(
        "UPDATE cases AS c SET closed_at = now(), verdict = 'closed', note = 'customs gave the list its number', "
        "closed_by = 'customs' FROM declaration AS d WHERE c.kind = 'declared_unnumbered' AND c.closed_at IS NULL "
        "AND d.order_id = c.order_id AND d.invt_no IS NOT NULL"
    )


async def settle_strange_bills(conn: Connection) -> None:
    """Close the open cases of bills whose list got known after all."""
    await conn.execute(
        "UPDATE cases AS c SET closed_at = now(), verdict = 'closed', note = 'the list of the bill got known', "
        "closed_by = 'customs' FROM tax_bill AS b JOIN declaration AS d USING (invt_no) WHERE c.kind = 'bill_of_nobody' "
        "AND c.closed_at IS NULL AND b.tax_no = c.subject AND d.direction = 'import'"
    )


async def add_notices(conn: Connection, notices: Sequence[Notice]) -> None:
    """Keep receipts about documents that are not lodged here."""
    await conn.copy_records_to_table(
        "notice", columns=("message_type", "status", "code", "numbers", "at"),
        records=[(n.message_type, n.status, n.code, orjson.dumps(n.numbers).decode(), n.at) for n in notices],
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class KeptBill:
    """A tax bill with the order whose list it is for; `version` counts the facts said about that order's declaration."""

    order_id: UUID
    version: int
    invt_no: str
    tax_no: str
    status: str
    duty_minor: int
    consumption_tax_minor: int
    vat_minor: int
    payment_book: str | None
    guarantor: str | None
    other_tax_no: str | None
    other_minor: int | None
    billed_said: bool
    status_said: bool
    other_said: bool
    superseded: bool
    returning: bool
    returns: int
    withheld: Money
    merchant_code: str
    released_at: datetime
    waits: bool = False

    @property
    def total_minor(self) -> int:
        return self.duty_minor + self.consumption_tax_minor + self.vat_minor


async def directions_of(conn: Connection, invt_nos: Collection[str]) -> dict[str, str | None]:
    """Whether the lists of these numbers are imports or exports; numbers nobody knows are not in the answer."""
    rows = await conn.fetch(
        "SELECT invt_no, direction FROM declaration WHERE invt_no = ANY($1::text[])", list(invt_nos)
    )
    return {row["invt_no"]: row["direction"] for row in rows}


async def has_unnumbered_import(conn: Connection) -> bool:
    """Whether a lodged import waits for its number. Reads many declarations, so it is asked about strange bills only."""
    found: bool = await conn.fetchval(
        "SELECT EXISTS (SELECT FROM declaration WHERE invt_no IS NULL AND direction = 'import' AND attempt > 0 "
        "AND state IN ('lodged', 'matched', 'withdrawing'))"
    )
    return found


async def open_strange_bills(conn: Connection, after_s: float) -> list[tuple[str, str]]:
    """The numbers of bills kept for so long whose list never got known, or is an export's: list and bill.

    Those that are a case already, open or closed, are left out.
    """
    rows = await conn.fetch(
        "SELECT b.invt_no, b.tax_no FROM tax_bill b LEFT JOIN declaration d USING (invt_no) WHERE b.pending "
        "AND b.came_at < now() - make_interval(secs => $1) AND d.direction IS DISTINCT FROM 'import' AND NOT EXISTS "
        "(SELECT FROM cases c WHERE c.kind = 'bill_of_nobody' AND c.subject = b.tax_no) ORDER BY b.came_at LIMIT 100",
        after_s,
    )
    return [(row["invt_no"], row["tax_no"]) for row in rows]


async def keep_bills(conn: Connection, bills: Sequence[tuple[Bill, datetime]]) -> None:
    """Write bills, each number at most once; the first amounts stand and a status only grows."""
    b = [bill for bill, _ in bills]
    await conn.execute(
        """INSERT INTO tax_bill AS t (invt_no, tax_no, status, duty_minor, consumption_tax_minor, vat_minor, payment_book, guarantor,
               came_at)
           SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::text[], $8::text[],
               $9::timestamptz[])
           ON CONFLICT (invt_no, tax_no) DO UPDATE SET
               duty_minor = coalesce(t.duty_minor, excluded.duty_minor), vat_minor = coalesce(t.vat_minor, excluded.vat_minor),
               consumption_tax_minor = coalesce(t.consumption_tax_minor, excluded.consumption_tax_minor),
               guarantor = coalesce(t.guarantor, excluded.guarantor), pending = true,
               payment_book = coalesce(t.payment_book, excluded.payment_book), status = greatest(t.status, excluded.status),
               status_said = t.status_said AND excluded.status <= t.status,
               other_tax_no = CASE WHEN (excluded.duty_minor, excluded.consumption_tax_minor, excluded.vat_minor)
                   <> (t.duty_minor, t.consumption_tax_minor, t.vat_minor)
                   THEN coalesce(t.other_tax_no, excluded.tax_no) ELSE t.other_tax_no END,
               other_minor = CASE WHEN (excluded.duty_minor, excluded.consumption_tax_minor, excluded.vat_minor)
                   <> (t.duty_minor, t.consumption_tax_minor, t.vat_minor)
                   THEN coalesce(t.other_minor, excluded.duty_minor + excluded.consumption_tax_minor + excluded.vat_minor)
                   ELSE t.other_minor END
           WHERE (t.duty_minor IS NULL AND excluded.duty_minor IS NOT NULL) OR excluded.status > t.status
               OR (excluded.duty_minor, excluded.consumption_tax_minor, excluded.vat_minor)
               <> (t.duty_minor, t.consumption_tax_minor, t.vat_minor)""",
        [x.invt_no for x in b], [x.tax_no for x in b], [x.status for x in b], [x.duty_minor for x in b],
        [x.consumption_tax_minor for x in b], [x.vat_minor for x in b], [x.payment_book for x in b], [x.guarantor for x in b],
        [at for _, at in bills],
    )  # fmt: skip


async def lock_bills(conn: Connection, most: int) -> Sequence[Mapping[str, Any]]:
    """All bills of the lists that have one with something to announce, where the list is cleared or its goods are back, or on
    their way: the bills of a list together, the first first, their declarations locked.

    A declaration another transaction has in hand is passed over: its bills are found again at the next turn. Rows, for one
    that cannot be read must not stop the others: `kept_bill` reads one.
    """
    rows: Sequence[Mapping[str, Any]] = await conn.fetch(
        "SELECT d.order_id, d.version, b.*, o.doc, (SELECT min(r.at) FROM receipt r WHERE r.order_id = d.order_id AND r.followed "
        "AND r.status IN ('800', '899')) AS released_at, d.state = 'returning' AS returning, "
        "(SELECT coalesce(max(g.return_no), 0) FROM goods_return g WHERE g.order_id = d.order_id "
        "AND g.state IN ('back', 'late')) AS returns "
        "FROM tax_bill b JOIN declaration d USING (invt_no) "
        "JOIN document o ON o.order_id = d.order_id AND o.kind = 'order' WHERE b.duty_minor IS NOT NULL AND b.invt_no IN ("
        "SELECT p.invt_no FROM tax_bill p JOIN declaration l USING (invt_no) WHERE p.pending AND p.duty_minor IS NOT NULL "
        "AND l.direction = 'import' AND l.state IN ('released', 'closed', 'returning', 'returned') "
        "AND l.order_id <> ALL (ARRAY(SELECT subject::uuid FROM aside WHERE source = 'bills' AND retry_at > now())) "
        "ORDER BY p.came_at LIMIT $1) "
        "ORDER BY d.order_id, b.came_at, b.tax_no FOR UPDATE OF d, b SKIP LOCKED",
        most,
    )
    return rows


def kept_bill(row: Mapping[str, Any]) -> KeptBill:
    """A row as a bill."""
    order = OrderPlaced.model_validate_json(row["doc"])
    return KeptBill(
        order_id=row["order_id"], version=row["version"], invt_no=row["invt_no"], tax_no=row["tax_no"], status=row["status"],
        duty_minor=row["duty_minor"], consumption_tax_minor=row["consumption_tax_minor"], vat_minor=row["vat_minor"],
        payment_book=row["payment_book"], guarantor=row["guarantor"], other_tax_no=row["other_tax_no"],
        other_minor=row["other_minor"], billed_said=row["billed_said"], status_said=row["status_said"],
        other_said=row["other_said"], superseded=row["superseded"], returning=row["returning"],
        returns=row["returns"], withheld=order.tax_withheld, merchant_code=order.merchant.code,
        released_at=row["released_at"],
    )  # fmt: skip


async def bills_said(
    conn: Connection, bills: Sequence[KeptBill], facts: Mapping[UUID, int]
) -> None:
    """What there was to say of these bills is said; their declarations count the facts."""
    if not bills:
        return
    await conn.execute(
        "UPDATE tax_bill AS b SET pending = u.p, billed_said = u.bs, status_said = u.ss, other_said = u.os, superseded = u.su "
        "FROM unnest($1::text[], $2::text[], $3::bool[], $4::bool[], $5::bool[], $6::bool[], $7::bool[]) AS u(i, t, bs, ss, os, su, p) "
        "WHERE b.invt_no = u.i AND b.tax_no = u.t",
        [b.invt_no for b in bills], [b.tax_no for b in bills], [b.billed_said for b in bills], [b.status_said for b in bills],
        [b.other_said for b in bills], [b.superseded for b in bills],
        [b.waits for b in bills],
    )  # fmt: skip
    await conn.execute(
        "UPDATE declaration AS d SET version = d.version + u.n, updated_at = now() FROM unnest($1::uuid[], $2::int[]) AS u(o, n) "
        "WHERE d.order_id = u.o AND u.n > 0",
        list(facts), list(facts.values()),
    )  # fmt: skip
