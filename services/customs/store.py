"""SQL for declarations and their documents."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from operator import attrgetter, itemgetter
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
    """Lock the declarations of these orders in one order, and return those that exist.

    `present` names their documents; `with_documents` reads them where a match or a list needs them.
    """
    rows = await conn.fetch(SELECT_DECLARATION + "FOR UPDATE", list(order_ids))
    return {row["order_id"]: read_declaration(row) for row in rows}


SELECT_DECLARATION: Final = (
    "SELECT order_id, state, version, attempt, stored, released, cancel_refused, invt_no, pre_no, "
    "status, batch_id, message_guid, group_key, direction, present, spared, waits_since FROM "
    "declaration WHERE order_id = ANY($1::uuid[]) ORDER BY order_id "
)


def read_declaration(row: Mapping[str, Any]) -> Declaration:
    return replace(
        BLANK,
        order_id=row["order_id"],
        state=DeclarationState(row["state"]),
        version=row["version"],
        attempt=row["attempt"],
        stored=row["stored"],
        released=row["released"],
        cancel_refused=row["cancel_refused"],
        invt_no=row["invt_no"],
        pre_no=row["pre_no"],
        status=row["status"],
        group_key=row["group_key"],
        batch_id=row["batch_id"],
        message_guid=row["message_guid"],
        direction=row["direction"],
        present=frozenset(row["present"]),
        spared=row["spared"],
        waits_since=row["waits_since"],
    )


async def with_documents(
    conn: Connection,
    declarations: Mapping[UUID, Declaration],
    *,
    without: Collection[str] = ("tax",),
) -> dict[UUID, Declaration]:
    """Return locked declarations with their documents, except those in `without`.

    No match compares the assessment, so it is not read by default.
    """
    rows = await conn.fetch(
        "SELECT order_id, kind, doc, 0::bigint AS id FROM document WHERE order_id = "
        "ANY($1::uuid[]) AND kind <> ALL($2::text[]) UNION ALL SELECT order_id, 'waybill', doc, "
        "id FROM later_waybill WHERE order_id = ANY($1::uuid[])",
        list(declarations),
        list(without),
    )
    documents: dict[UUID, dict[str, bytes]] = {}
    for row in sorted(rows, key=_ID):  # the newest waybill counts
        documents.setdefault(row["order_id"], {})[row["kind"]] = row["doc"]
    return {
        order_id: _filled(d, documents.get(order_id, {})) for order_id, d in declarations.items()
    }


_ID: Final = itemgetter("id")


async def with_returns(
    conn: Connection, declarations: Mapping[UUID, Declaration]
) -> dict[UUID, Declaration]:
    """Return locked declarations with all a return depends on: documents, earlier returns and the
    time of release. Three queries: returns are rare.
    """
    if not declarations:
        return {}
    ids = list(declarations)
    filled = await with_documents(conn, declarations)
    taxes = await conn.fetch(
        "SELECT order_id, doc FROM document WHERE order_id = ANY($1::uuid[]) AND kind = 'tax'", ids
    )
    released = await conn.fetch(
        "SELECT order_id, min(at) AS at FROM receipt WHERE order_id = ANY($1::uuid[]) AND "
        "followed AND status IN ('800', '899') AND message_type IN ('CEB622', 'CEB604') GROUP BY "
        "order_id",
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
        d,
        order=_read(OrderPlaced, there.get("order")),
        payment=_read(PaymentCaptured, there.get("payment")),
        waybill=_read(WaybillIssued, there.get("waybill")),
    )


def _read(kind: type[AnyEvent], value: bytes | None) -> AnyEvent | None:
    return None if value is None else kind.from_json(value)


async def orders_of(
    conn: Connection, cop_nos: Collection[str], invt_nos: Collection[str]
) -> tuple[dict[str, UUID], dict[str, UUID]]:
    rows = await conn.fetch(
        "SELECT order_id, cop_no, invt_no FROM declaration WHERE cop_no = ANY($1::text[]) OR "
        "invt_no = ANY($2::text[])",
        list(cop_nos),
        list(invt_nos),
    )
    return {r["cop_no"]: r["order_id"] for r in rows}, {
        r["invt_no"]: r["order_id"] for r in rows if r["invt_no"]
    }


async def orders_numbered(conn: Connection, pre_nos: Collection[str]) -> dict[str, UUID]:
    """Return the orders of the e-port's own list numbers. A number that two lists share
    is absent.
    """
    rows = await conn.fetch(
        "SELECT pre_no, array_agg(order_id) AS orders FROM declaration WHERE pre_no = "
        "ANY($1::text[]) GROUP BY pre_no",
        list(pre_nos),
    )
    return {row["pre_no"]: row["orders"][0] for row in rows if len(row["orders"]) == 1}


async def save(
    conn: Connection,
    declarations: Sequence[Declaration],
    documents: Mapping[UUID, Mapping[str, bytes]],
    known: Collection[UUID],
) -> None:
    """Write declarations and their new documents. A stored document is never replaced.

    `known` are the orders whose rows exist and are locked; the batch locks the others.
    """
    changed = [d for d in declarations if d.order_id in known]
    added = [d for d in declarations if d.order_id not in known]
    if changed:
        await conn.execute(_UPDATE, *_columns(changed))
    if added:
        await conn.execute(_INSERT, *_columns(added), [cop_no_of(d.order_id) for d in added])
    await _save_documents(conn, declarations, documents)


def _columns(declarations: Sequence[Declaration]) -> list[list[Any]]:
    columns = [list(column) for column in zip(*map(_FIELDS, declarations), strict=True)]
    return [*columns, [",".join(sorted(d.present)) for d in declarations]]


async def _save_documents(
    conn: Connection,
    declarations: Sequence[Declaration],
    documents: Mapping[UUID, Mapping[str, bytes]],
) -> None:
    new_documents = [
        (x.order_id, kind, doc)
        for x in declarations
        for kind, doc in documents.get(x.order_id, {}).items()
        if kind in x.present
    ]
    if new_documents and not await copied(
        conn, "document", ("order_id", "kind", "doc"), new_documents
    ):
        await conn.execute(
            "INSERT INTO document (order_id, kind, doc) SELECT * FROM unnest($1::uuid[], "
            "$2::text[], $3::bytea[]) ON CONFLICT DO NOTHING",
            *map(list, zip(*new_documents, strict=True)),
        )


_FIELDS: Final = attrgetter(
    "order_id", "state", "version", "direction", "attempt", "stored", "released", "cancel_refused",
    "invt_no", "pre_no", "status", "batch_id", "message_guid", "group_key", "spared", "waits_since",
)  # fmt: skip
_COLUMNS: Final = """order_id, state, version, direction, attempt, stored, released, cancel_refused,
        invt_no, pre_no, status, batch_id, message_guid, group_key, spared, waits_since, present"""
_ROWS: Final = (
    "unnest($1::uuid[], $2::text[], $3::int[], $4::text[], $5::int[], $6::bool[], $7::bool[], "
    "$8::bool[], $9::text[], $10::text[], $11::text[], $12::uuid[], $13::text[], $14::text[], "
    "$15::int[], $16::timestamptz[], $17::text[]"
)
_INSERT: Final = f"""
    INSERT INTO declaration ({_COLUMNS}, cop_no)
    SELECT order_id, state, version, direction, attempt, stored, released, cancel_refused,
        invt_no, pre_no, status, batch_id, message_guid, group_key, spared, waits_since,
        string_to_array(present, ','), cop_no
    FROM {_ROWS}, $18::text[]) AS x({_COLUMNS}, cop_no)"""  # noqa: S608
_UPDATE: Final = f"""
    UPDATE declaration AS t SET state = x.state, version = x.version,
        direction = coalesce(t.direction, x.direction), attempt = x.attempt, stored = x.stored,
        released = x.released, cancel_refused = x.cancel_refused, invt_no = x.invt_no,
        pre_no = x.pre_no, status = x.status, batch_id = x.batch_id,
        message_guid = x.message_guid, group_key = coalesce(t.group_key, x.group_key),
        spared = x.spared, waits_since = x.waits_since,
        present = string_to_array(x.present, ','), updated_at = now()
    FROM {_ROWS}) AS x({_COLUMNS}) WHERE t.order_id = x.order_id"""  # noqa: S608


async def count_owed(conn: Connection) -> list[tuple[str, int, datetime | None]]:
    """Return what outside parties owe and since when: waybills of placed orders, and replies on
    lodged lists. Reads all declarations.

    A list without a number that is being withdrawn is owed a reply too: its cancellation needs the
    number.
    """
    row = await conn.fetchrow(
        "SELECT count(*) FILTER (WHERE state <> 'collecting') AS lists, min(updated_at) FILTER "
        "(WHERE state <> 'collecting') AS lodged_at, count(*) FILTER (WHERE state = 'collecting') "
        "AS parcels, min(created_at) FILTER (WHERE state = 'collecting') AS placed_at FROM "
        "declaration WHERE state = 'lodged' OR (state = 'withdrawing' AND invt_no IS NULL) OR "
        "(state = 'collecting' AND 'order' = ANY(present) AND 'waybill' <> ALL(present))"
    )
    return [
        ("authority", row["lists"], row["lodged_at"]),
        ("carrier", row["parcels"], row["placed_at"]),
    ]
