"""Customs' SQL for the consolidation of export lists."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from services.customs.ceb.entries import ResultLine
from services.customs.consolidation.domain import Declaration, Stage, State, Summary
from services.customs.consolidation.grouping import Head, ListLine, Place
from services.customs.domain.declaration import CLEARED, OVER
from shared.database import Connection
from shared.money import Money

# --- closed lists


async def add_closed(conn: Connection, closed: Mapping[UUID, tuple[datetime, str]]) -> None:
    """Note lists that were closed, each with the time and month; one that is there stays as it is."""
    found = sorted(closed.items())
    await conn.execute(
        "INSERT INTO export_list (order_id, invt_no, month, customs_code, consignor, closed_at, state) "
        "SELECT d.order_id, d.invt_no, u.m, split_part(d.group_key, '|', 3), "
        "convert_from(o.doc, 'UTF8')::jsonb #>> '{merchant,code}', u.at, 'open' "
        "FROM unnest($1::uuid[], $2::timestamptz[], $3::text[]) AS u(o, at, m) JOIN declaration d ON d.order_id = u.o "
        "JOIN document o ON o.order_id = d.order_id AND o.kind = 'order' WHERE d.invt_no IS NOT NULL ON CONFLICT DO NOTHING",
        [order_id for order_id, _ in found], [at for _, (at, _) in found], [month for _, (_, month) in found],
    )  # fmt: skip


async def drop_closed(conn: Connection, order_ids: Collection[UUID]) -> None:
    """Forget that these lists are to be consolidated: they were withdrawn."""
    await conn.execute(
        "DELETE FROM export_list WHERE order_id = ANY($1::uuid[]) AND state = 'open'",
        list(order_ids),
    )


@dataclass(frozen=True, slots=True)
class Group:
    """Open lists of a month, an office and a consignor: they may be in one request. `closed_at`: of the first of them."""

    month: str
    customs_code: str
    consignor: str
    lists: int
    closed_at: datetime


async def list_groups(conn: Connection, before: datetime) -> list[Group]:
    """Groups of open lists that were closed before then, or whose month a person asks for; the oldest first."""
    # Alone, the time finds its index: lists of the month that goes on are many, and read on request only.
    asked = await conn.fetchval("SELECT EXISTS (SELECT FROM month_asked)")
    rows = await conn.fetch(
        "SELECT month, customs_code, consignor, count(*) AS lists, min(closed_at) AS closed_at FROM export_list "
        "WHERE state = 'open' AND (closed_at < $1 OR month IN (SELECT month FROM month_asked)) "
        "GROUP BY month, customs_code, consignor ORDER BY min(closed_at), customs_code, consignor"
        if asked
        else "SELECT month, customs_code, consignor, count(*) AS lists, min(closed_at) AS closed_at FROM export_list "
        "WHERE state = 'open' AND closed_at < $1 "
        "GROUP BY month, customs_code, consignor ORDER BY min(closed_at), customs_code, consignor",
        before,
    )
    return [Group(*row) for row in rows]


async def forget_asked(conn: Connection) -> None:
    """Drop the wishes for months of which no list is open any more."""
    await conn.execute(
        "DELETE FROM month_asked a WHERE NOT EXISTS (SELECT FROM export_list e WHERE e.state = 'open' AND e.month = a.month)"
    )


async def take(conn: Connection, group: Group, most: int) -> list[tuple[UUID, str, int]]:
    """Lock up to `most` lists of a group: order, number, how often asked for. Those that came back whole are noted and left out,
    those on their way back wait. A list another transaction has in hand is passed over."""
    rows = await conn.fetch(
        "SELECT e.order_id, e.invt_no, e.requests, d.state FROM export_list e JOIN declaration d USING (order_id) "
        "WHERE e.state = 'open' AND e.month = $1 AND e.customs_code = $2 AND e.consignor = $3 AND d.state <> 'returning' "
        "AND e.order_id <> ALL (ARRAY(SELECT subject::uuid FROM aside WHERE source = 'summaries' AND retry_at > now())) "
        "ORDER BY e.closed_at, e.order_id LIMIT $4 FOR UPDATE OF e, d SKIP LOCKED",
        group.month, group.customs_code, group.consignor, most,
    )  # fmt: skip
    gone = [row["order_id"] for row in rows if row["state"] in OVER]
    if gone:
        await conn.execute(
            "UPDATE export_list SET state = 'returned' WHERE order_id = ANY($1::uuid[])", gone
        )
    return [
        (row["order_id"], row["invt_no"], row["requests"])
        for row in rows
        if row["state"] in CLEARED
    ]


async def list_lines(
    conn: Connection, invt_nos: Collection[str], traf_mode: Callable[[str, str], str]
) -> list[ListLine]:
    """The lines of these lists as they were declared, with all they are grouped by; the mode of transport by mode and country."""
    rows = await conn.fetch(
        "SELECT e.invt_no, e.customs_code, e.consignor, o.j ->> 'mode' AS mode, o.j #>> '{consignee,country}' AS country, "
        "(l ->> 'line_no')::int AS line_no, l ->> 'hs_code' AS hs_code, l ->> 'name' AS name, (l ->> 'quantity')::numeric AS quantity, "
        "l ->> 'unit' AS unit, l #>> '{total,amount}' AS amount, l #>> '{total,currency}' AS currency "
        "FROM export_list e JOIN document p ON p.order_id = e.order_id AND p.kind = 'order', "
        "LATERAL (SELECT convert_from(p.doc, 'UTF8')::jsonb AS j) o, LATERAL jsonb_array_elements(o.j -> 'lines') l "
        "WHERE e.invt_no = ANY($1::text[]) ORDER BY e.invt_no, line_no",
        list(invt_nos),
    )
    return [_line(row, traf_mode(row["mode"], row["country"])) for row in rows]


def _line(r: Mapping[str, Any], traf_mode: str) -> ListLine:
    # The merchant is consignor and producer in our lists, and the country of arrival the destination.
    head = Head(
        r["customs_code"], r["consignor"], r["consignor"], r["country"], r["mode"], traf_mode
    )
    total = Money.of(r["amount"], r["currency"])
    return ListLine(
        Place(r["invt_no"], r["line_no"]),
        head,
        r["country"],
        r["hs_code"],
        r["name"],
        r["quantity"],
        r["unit"],
        total,
    )


async def merchant_name(conn: Connection, order_id: UUID) -> str:
    """The registered name of an order's merchant."""
    found: str = await conn.fetchval(
        "SELECT convert_from(doc, 'UTF8')::jsonb #>> '{merchant,name}' FROM document WHERE order_id = $1 AND kind = 'order'",
        order_id,
    )
    return found


async def set_aside_open(conn: Connection, order_ids: Collection[UUID]) -> None:
    """Lists that no request can be printed of wait for a person."""
    await conn.execute(
        "UPDATE export_list SET state = 'set_aside' WHERE order_id = ANY($1::uuid[])",
        list(order_ids),
    )


# --- requests


@dataclass(frozen=True, slots=True)
class Asked:
    """What a new request is about, beside the request itself."""

    group: Group
    expected: int
    due_at: datetime
    at: datetime


async def add(
    conn: Connection, s: Summary, asked: Asked, parts: Sequence[tuple[str, Sequence[UUID]]]
) -> None:
    """Write a new request: its messages, each with its guid and lists; the lists are its own now, and that is to be said of each."""
    lists = [order_id for _, part in parts for order_id in part]
    await conn.execute(
        "INSERT INTO summary (summary_id, cop_no, month, customs_code, consignor, state, attempt, parts, lists, lines, expected, due_at, "
        "requested_at, changed_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $13)",
        s.summary_id, s.cop_no, asked.group.month, asked.group.customs_code, asked.group.consignor, s.state, s.attempt, s.parts,
        len(lists), s.lines, asked.expected, asked.due_at, asked.at,
    )  # fmt: skip
    await conn.executemany(
        "INSERT INTO summary_part (summary_id, seq, message_guid, lists) VALUES ($1, $2, $3, $4)",
        [(s.summary_id, seq, guid, len(part)) for seq, (guid, part) in enumerate(parts, 1)],
    )
    await conn.execute(
        "UPDATE export_list e SET state = 'requested', summary_id = $1, part = u.p, requests = e.requests + 1 "
        "FROM unnest($2::uuid[], $3::int[]) AS u(o, p) WHERE e.order_id = u.o",
        s.summary_id, lists, [seq for seq, (_, part) in enumerate(parts, 1) for _ in part],
    )  # fmt: skip
    await say_of_lists(conn, "requested", s.summary_id)


async def lock_by_number(
    conn: Connection, cop_nos: Collection[str], sum_nos: Collection[str]
) -> list[Summary]:
    """The requests of these numbers, ours or the authority's, locked in one order."""
    rows = await conn.fetch(
        _SUMMARY + "WHERE cop_no = ANY($1::text[]) OR sum_no = ANY($2::text[]) ORDER BY summary_id FOR UPDATE",
        list(cop_nos), list(sum_nos),
    )  # fmt: skip
    return [_summary(row) for row in rows]


async def lock_of_list(conn: Connection, invt_no: str) -> Summary | None:
    """The live request a list is in, locked; a receipt that told its number may be still to come."""
    row = await conn.fetchrow(
        _SUMMARY  # noqa: S608
        + "WHERE summary_id = (SELECT summary_id FROM export_list WHERE invt_no = $1) FOR UPDATE",
        invt_no,
    )
    return _summary(row) if row else None


async def lock_in_message(conn: Connection, guids: Collection[str]) -> list[tuple[Summary, int]]:
    """The requests that left in these messages, locked, each with the number of the message."""
    rows = await conn.fetch(
        "SELECT summary_id, seq FROM summary_part WHERE message_guid = ANY($1::text[])", list(guids)
    )
    seqs = {row["summary_id"]: row["seq"] for row in rows}
    found = await conn.fetch(
        _SUMMARY + "WHERE summary_id = ANY($1::uuid[]) ORDER BY summary_id FOR UPDATE", list(seqs)
    )
    return [(_summary(row), seqs[row["summary_id"]]) for row in found]


async def lock_to_free(conn: Connection, now: datetime) -> list[Summary]:
    """Refused requests whose lists are free again by now."""
    rows = await conn.fetch(
        _SUMMARY + "WHERE state = 'refused' AND again_at <= $1 "  # noqa: S608
        "AND summary_id <> ALL (ARRAY(SELECT subject::uuid FROM aside WHERE source = 'summaries' AND retry_at > now())) "
        "ORDER BY again_at LIMIT 100 FOR UPDATE SKIP LOCKED",
        now,
    )
    return [_summary(row) for row in rows]


_SUMMARY = "SELECT summary_id, cop_no, parts, lines, attempt, state, accepted, sum_no, status, code, info, again_at FROM summary "


def _summary(row: Mapping[str, Any]) -> Summary:
    return Summary(
        row["summary_id"], row["cop_no"], row["parts"], row["lines"], row["attempt"], State(row["state"]), frozenset(row["accepted"]),
        row["sum_no"], row["status"], row["code"], row["info"], row["again_at"],
    )  # fmt: skip


async def save(conn: Connection, s: Summary, at: datetime) -> None:
    await conn.execute(
        "UPDATE summary SET state = $2, accepted = $3, sum_no = $4, status = $5, code = $6, info = $7, again_at = $8, changed_at = $9 "
        "WHERE summary_id = $1",
        s.summary_id, s.state, sorted(s.accepted), s.sum_no, s.status, s.code, s.info, s.again_at, at,
    )  # fmt: skip
    if s.state in (State.DECLARED, State.CLOSED):
        await conn.execute(
            "UPDATE export_list SET state = 'consolidated' WHERE summary_id = $1 AND state = 'requested'",
            s.summary_id,
        )


async def first_closed(conn: Connection, summary_id: UUID) -> datetime | None:
    """When the first list of a request was closed, which tells its month."""
    found: datetime | None = await conn.fetchval(
        "SELECT min(closed_at) FROM export_list WHERE summary_id = $1", summary_id
    )
    return found


async def of_it(conn: Connection, summary_id: UUID, invt_nos: Collection[str]) -> set[str]:
    """Which of these lists are in the request."""
    rows = await conn.fetch(
        "SELECT invt_no FROM export_list WHERE summary_id = $1 AND invt_no = ANY($2::text[])",
        summary_id,
        list(invt_nos),
    )
    return {row["invt_no"] for row in rows}


async def set_aside(conn: Connection, summary_id: UUID, invt_nos: Collection[str]) -> None:
    """Take lists out of their request, for a person to look at, and have that said."""
    await conn.execute(
        "INSERT INTO summary_word (order_id, kind, summary_id) SELECT order_id, 'set_aside', summary_id FROM export_list "
        "WHERE summary_id = $1 AND invt_no = ANY($2::text[]) ORDER BY order_id",
        summary_id, list(invt_nos),
    )  # fmt: skip
    await conn.execute(
        "UPDATE export_list SET state = 'set_aside', summary_id = NULL, part = NULL WHERE summary_id = $1 AND invt_no = ANY($2::text[])",
        summary_id, list(invt_nos),
    )  # fmt: skip


async def free_lists(conn: Connection, summary_id: UUID) -> None:
    """The lists of a request may be asked for anew."""
    await conn.execute(
        "UPDATE export_list SET state = 'open', summary_id = NULL, part = NULL WHERE summary_id = $1",
        summary_id,
    )


# --- declarations


async def load_declarations(
    conn: Connection, decl_seq_nos: Collection[str], sum_nos: Collection[str]
) -> dict[str, Declaration]:
    """The declarations of these numbers, and all of these requests."""
    rows = await conn.fetch(
        "SELECT * FROM summary_declaration WHERE decl_seq_no = ANY($1::text[]) OR sum_no = ANY($2::text[]) ORDER BY decl_seq_no FOR UPDATE",
        list(decl_seq_nos), list(sum_nos),
    )  # fmt: skip
    return {row["decl_seq_no"]: _declaration(row) for row in rows}


def _declaration(row: Mapping[str, Any]) -> Declaration:
    return Declaration(
        row["decl_seq_no"], row["sum_no"], row["count"], frozenset(row["told"]), row["lines"], Stage(row["stage"]), Stage(row["said"]),
        row["dec_state"], row["entry_id"], row["tmp_no"], row["pre_no"],
    )  # fmt: skip


async def save_declaration(conn: Connection, d: Declaration) -> None:
    await conn.execute(
        "INSERT INTO summary_declaration (decl_seq_no, sum_no, stage, said, dec_state, entry_id, tmp_no, pre_no, count, told, lines) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (decl_seq_no) DO UPDATE SET stage = excluded.stage, "
        "said = excluded.said, dec_state = excluded.dec_state, entry_id = excluded.entry_id, tmp_no = excluded.tmp_no, "
        "pre_no = excluded.pre_no, count = excluded.count, told = excluded.told, lines = excluded.lines, changed_at = now()",
        d.decl_seq_no, d.sum_no, d.stage, d.said, d.dec_state, d.entry_id, d.tmp_no, d.pre_no, d.count, sorted(d.told), d.lines,
    )  # fmt: skip


async def declared_elsewhere(
    conn: Connection, invt_nos: Collection[str], decl_seq_no: str
) -> dict[Place, str]:
    """The lines of these lists that are in another declaration already."""
    rows = await conn.fetch(
        "SELECT invt_no, line_no, decl_seq_no FROM summary_line WHERE invt_no = ANY($1::text[]) AND decl_seq_no <> $2",
        list(invt_nos), decl_seq_no,
    )  # fmt: skip
    return {Place(row["invt_no"], row["line_no"]): row["decl_seq_no"] for row in rows}


async def load_declared(conn: Connection, decl_seq_no: str) -> list[tuple[int, Place]]:
    """The lines a declaration has so far: its line number, and the line of the list."""
    rows = await conn.fetch(
        "SELECT declared_line, invt_no, line_no FROM summary_line WHERE decl_seq_no = $1",
        decl_seq_no,
    )
    return [(row["declared_line"], Place(row["invt_no"], row["line_no"])) for row in rows]


async def add_lines(
    conn: Connection, decl_seq_no: str, lines: Sequence[tuple[ResultLine, ListLine]]
) -> None:
    await conn.execute(
        "INSERT INTO summary_line (invt_no, line_no, decl_seq_no, declared_line, hs_code, quantity, unit, amount_minor, currency) "
        "SELECT i, n, $1, d, h, q, u, a, c FROM unnest($2::text[], $3::int[], $4::int[], $5::text[], $6::numeric[], $7::text[], "
        "$8::bigint[], $9::text[]) AS x(i, n, d, h, q, u, a, c)",
        decl_seq_no, [told.invt_no for told, _ in lines], [told.line_no for told, _ in lines],
        [told.declared_line for told, _ in lines], [told.hs_code for told, _ in lines], [line.quantity for _, line in lines],
        [line.unit for _, line in lines], [line.total.minor for _, line in lines], [line.total.currency for _, line in lines],
    )  # fmt: skip


# --- what is said of each order


async def say_of_lists(conn: Connection, kind: str, summary_id: UUID) -> None:
    """A word on every list of a request is to be said."""
    await conn.execute(
        "INSERT INTO summary_word (order_id, kind, summary_id) SELECT order_id, $1, summary_id FROM export_list WHERE summary_id = $2 "
        "ORDER BY part, order_id",
        kind, summary_id,
    )  # fmt: skip


async def say_of_declaration(
    conn: Connection, kind: str, summary_id: UUID, decl_seq_no: str
) -> None:
    """A word on every list with a line in a declaration is to be said."""
    await conn.execute(
        "INSERT INTO summary_word (order_id, kind, summary_id, decl_seq_no) SELECT DISTINCT e.order_id, $1, $2::uuid, $3 "
        "FROM summary_line l JOIN export_list e USING (invt_no) WHERE l.decl_seq_no = $3 ORDER BY e.order_id",
        kind, summary_id, decl_seq_no,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class PendingEvent:
    """A fact about an order that is to be announced; `version` counts those said of its declaration before, `parts` is JSON: the lines
    of the list with those of the declaration."""

    id: int
    order_id: UUID
    version: int
    kind: str
    invt_no: str
    cop_no: str
    month: str
    due_at: datetime
    status: str | None
    info: str | None
    decl_seq_no: str | None
    entry_id: str | None
    parts: str


async def lock_words(conn: Connection, most: int) -> list[PendingEvent]:
    """The first words that are not said yet, their declarations locked; those another transaction has in hand are passed over."""
    rows = await conn.fetch(
        "SELECT w.id, w.order_id, d.version, w.kind, e.invt_no, s.cop_no, s.month, s.due_at, s.status, s.info, w.decl_seq_no, c.entry_id, "
        "(SELECT coalesce(jsonb_agg(jsonb_build_array(l.line_no, l.declared_line) ORDER BY l.line_no), '[]') FROM summary_line l "
        "WHERE l.invt_no = e.invt_no AND l.decl_seq_no = w.decl_seq_no)::text AS parts "
        "FROM (SELECT * FROM summary_word WHERE order_id <> ALL (ARRAY(SELECT subject::uuid FROM aside "
        "WHERE source = 'summary words' AND retry_at > now())) ORDER BY id LIMIT $1) w "
        "JOIN summary s USING (summary_id) JOIN export_list e USING (order_id) "
        "LEFT JOIN summary_declaration c USING (decl_seq_no) JOIN declaration d ON d.order_id = w.order_id "
        "ORDER BY w.order_id, w.id FOR UPDATE OF d SKIP LOCKED",
        most,
    )
    return [PendingEvent(**row) for row in rows]


async def words_said(conn: Connection, ids: Collection[int], counts: Mapping[UUID, int]) -> None:
    """These are announced; the declarations count them."""
    await conn.execute("DELETE FROM summary_word WHERE id = ANY($1::bigint[])", list(ids))
    await conn.execute(
        "UPDATE declaration AS d SET version = d.version + u.n, updated_at = now() FROM unnest($1::uuid[], $2::int[]) AS u(o, n) "
        "WHERE d.order_id = u.o",
        list(counts), list(counts.values()),
    )  # fmt: skip


# --- looking


async def count_states(conn: Connection) -> dict[str, int]:
    rows = await conn.fetch("SELECT state, count(*) AS n FROM summary GROUP BY state")
    return {row["state"]: row["n"] for row in rows}


async def count_stages(conn: Connection) -> dict[str, int]:
    rows = await conn.fetch("SELECT stage, count(*) AS n FROM summary_declaration GROUP BY stage")
    return {row["stage"]: row["n"] for row in rows}


@dataclass(frozen=True, slots=True)
class Owed:
    """Lists of a month that are not in a declared declaration yet."""

    month: str
    state: str
    lists: int
    closed_at: datetime


async def list_owed(conn: Connection, before: datetime) -> list[Owed]:
    """The lists closed before then that are still to be consolidated, by month and state; the oldest month first."""
    rows = await conn.fetch(
        "SELECT month, state, count(*) AS lists, min(closed_at) AS closed_at FROM export_list "
        "WHERE state IN ('open', 'requested', 'set_aside') AND closed_at < $1 GROUP BY month, state ORDER BY min(closed_at)",
        before,
    )
    return [Owed(*row) for row in rows]


async def open_strange(conn: Connection, after_s: float) -> list[tuple[str, str]]:
    """Declarations known for so long whose request never got known and that are no case yet: their number and the sumNo."""
    rows = await conn.fetch(
        "SELECT d.decl_seq_no, d.sum_no FROM summary_declaration d LEFT JOIN summary s USING (sum_no) WHERE s.summary_id IS NULL "
        "AND d.came_at < now() - make_interval(secs => $1) AND NOT EXISTS (SELECT FROM cases c "
        "WHERE c.kind = 'declaration_of_nobody' AND c.subject = d.decl_seq_no) ORDER BY d.came_at LIMIT 100",
        after_s,
    )
    return [(row["decl_seq_no"], row["sum_no"]) for row in rows]


async def settle_strange(conn: Connection) -> None:
    """Close the open cases of declarations whose request got known after all."""
    await conn.execute(
        "UPDATE cases AS c SET closed_at = now(), verdict = 'closed', note = 'the request of the declaration got known', "
        "closed_by = 'customs' FROM summary_declaration AS d JOIN summary AS s USING (sum_no) "
        "WHERE c.kind = 'declaration_of_nobody' AND c.closed_at IS NULL AND d.decl_seq_no = c.subject"
    )
