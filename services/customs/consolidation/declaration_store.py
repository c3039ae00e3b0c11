"""SQL for consolidated declarations and their lines."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from services.customs.ceb.summaries import ResultLine
from services.customs.consolidation.grouping import LinePlace, ListLine
from services.customs.consolidation.summary_declaration import DeclarationStage, SummaryDeclaration
from shared.database import Connection


async def load_declarations(
    conn: Connection, decl_seq_nos: Collection[str], sum_nos: Collection[str]
) -> dict[str, SummaryDeclaration]:
    rows = await conn.fetch(
        "SELECT * FROM summary_declaration WHERE decl_seq_no = ANY($1::text[]) OR sum_no = "
        "ANY($2::text[]) ORDER BY decl_seq_no FOR UPDATE",
        list(decl_seq_nos),
        list(sum_nos),
    )
    return {row["decl_seq_no"]: _read_declaration(row) for row in rows}


def _read_declaration(row: Mapping[str, Any]) -> SummaryDeclaration:
    return SummaryDeclaration(
        row["decl_seq_no"],
        row["sum_no"],
        row["count"],
        frozenset(row["told"]),
        row["lines"],
        DeclarationStage(row["stage"]),
        DeclarationStage(row["said"]),
        row["dec_state"],
        row["entry_id"],
        row["tmp_no"],
        row["pre_no"],
    )


async def save_declaration(conn: Connection, d: SummaryDeclaration) -> None:
    await conn.execute(
        "INSERT INTO summary_declaration (decl_seq_no, sum_no, stage, said, dec_state, entry_id, "
        "tmp_no, pre_no, count, told, lines) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, "
        "$11) ON CONFLICT (decl_seq_no) DO UPDATE SET stage = excluded.stage, said = "
        "excluded.said, dec_state = excluded.dec_state, entry_id = excluded.entry_id, tmp_no = "
        "excluded.tmp_no, pre_no = excluded.pre_no, count = excluded.count, told = excluded.told, "
        "lines = excluded.lines, changed_at = now()",
        d.decl_seq_no,
        d.sum_no,
        d.stage,
        d.published_stage,
        d.dec_state,
        d.entry_id,
        d.tmp_no,
        d.pre_no,
        d.count,
        sorted(d.received_parts),
        d.lines,
    )


async def find_other_declarations(
    conn: Connection, invt_nos: Collection[str], decl_seq_no: str
) -> dict[LinePlace, str]:
    rows = await conn.fetch(
        "SELECT invt_no, line_no, decl_seq_no FROM summary_line WHERE invt_no = ANY($1::text[]) "
        "AND decl_seq_no <> $2",
        list(invt_nos),
        decl_seq_no,
    )
    return {LinePlace(row["invt_no"], row["line_no"]): row["decl_seq_no"] for row in rows}


async def load_declared(conn: Connection, decl_seq_no: str) -> list[tuple[int, LinePlace]]:
    rows = await conn.fetch(
        "SELECT declared_line, invt_no, line_no FROM summary_line WHERE decl_seq_no = $1",
        decl_seq_no,
    )
    return [(row["declared_line"], LinePlace(row["invt_no"], row["line_no"])) for row in rows]


async def add_lines(
    conn: Connection, decl_seq_no: str, lines: Sequence[tuple[ResultLine, ListLine]]
) -> None:
    rows = [_line_row(declared, line) for declared, line in lines]
    await conn.execute(
        "INSERT INTO summary_line (decl_seq_no, invt_no, line_no, declared_line, hs_code, "
        "quantity, unit, amount_minor, currency) SELECT $1, x.* FROM unnest($2::text[], "
        "$3::int[], $4::int[], $5::text[], $6::numeric[], $7::text[], $8::bigint[], $9::text[]) "
        "AS x(invt_no, line_no, declared_line, hs_code, quantity, unit, amount_minor, currency)",
        decl_seq_no,
        *map(list, zip(*rows, strict=True)),
    )


def _line_row(declared: ResultLine, line: ListLine) -> tuple[Any, ...]:
    return (
        declared.invt_no,
        declared.line_no,
        declared.declared_line,
        declared.hs_code,
        line.quantity,
        line.unit,
        line.total.minor,
        line.total.currency,
    )


async def count_stages(conn: Connection) -> dict[str, int]:
    rows = await conn.fetch("SELECT stage, count(*) AS n FROM summary_declaration GROUP BY stage")
    return {row["stage"]: row["n"] for row in rows}


async def list_unknown_declarations(conn: Connection, after_s: float) -> list[tuple[str, str]]:
    rows = await conn.fetch(
        "SELECT d.decl_seq_no, d.sum_no FROM summary_declaration d LEFT JOIN summary s USING "
        "(sum_no) WHERE s.summary_id IS NULL AND d.came_at < now() - make_interval(secs => $1) "
        "AND NOT EXISTS (SELECT FROM cases c WHERE c.kind = 'declaration_of_nobody' AND c.subject "
        "= d.decl_seq_no) ORDER BY d.came_at LIMIT 100",
        after_s,
    )
    return [(row["decl_seq_no"], row["sum_no"]) for row in rows]


async def close_known_declarations(conn: Connection) -> None:
    await conn.execute(
        "UPDATE cases AS c SET closed_at = now(), verdict = 'closed', note = 'the request of the "
        "declaration got known', closed_by = 'customs' FROM summary_declaration AS d JOIN summary "
        "AS s USING (sum_no) WHERE c.kind = 'declaration_of_nobody' AND c.closed_at IS NULL AND "
        "d.decl_seq_no = c.subject"
    )
