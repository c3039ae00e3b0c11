"""Customs' SQL."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any, Final, TypeVar
from uuid import UUID

from services.customs.domain.declaration import (
    BLANK,
    Declaration,
    DeclarationState,
)
from services.customs.domain.numbers import cop_no_of
from services.customs.domain.returns import Return
from services.customs.return_store import read_return
from shared.database import Connection, copied
from shared.events.base import Event
from shared.events.logistics import WaybillIssued
from shared.events.orders import OrderPlaced
from shared.events.payments import PaymentCaptured
from shared.events.tax import TaxAssessed
from shared.values import replace

AnyEvent = TypeVar("AnyEvent", bound=Event)


async def lock(conn: Connection, order_ids: Collection[UUID]) -> dict[UUID, Declaration]:
    """The declarations of these orders, locked in one order; an order without one is not in the answer.

    Their documents are named in `present` but not read: only a match and a list need them, and `with_documents` adds them.
    """
    rows = await conn.fetch(SELECT_DECLARATION + "FOR UPDATE", list(order_ids))
    return {row["order_id"]: read_declaration(row) for row in rows}


SELECT_DECLARATION: Final = (
    "SELECT order_id, state, version, attempt, stored, released, cancel_refused, invt_no, pre_no, status, batch_id, message_guid, "
    "group_key, direction, present, spared, waits_since FROM declaration "
    "WHERE order_id = ANY($1::uuid[]) ORDER BY order_id "
)


def read_declaration(row: Mapping[str, Any]) -> Declaration:
    return replace(
        BLANK, order_id=row["order_id"], state=DeclarationState(row["state"]), version=row["version"], attempt=row["attempt"], stored=row["stored"],
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
        past.setdefault(row["order_id"], []).append(read_return(row))
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
