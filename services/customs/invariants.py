"""What must hold in customs' tables at every moment."""

from __future__ import annotations

from typing import Final

from shared.invariants import Invariant

INVARIANTS: Final[tuple[Invariant, ...]] = (
    Invariant(
        "customs_waiting_fits_state",
        "SELECT w.order_id::text FROM customs.waiting w JOIN customs.declaration d USING "
        "(order_id) WHERE d.state <> CASE w.kind WHEN 'declare' THEN 'matched' WHEN 'cancel' THEN "
        "'withdrawing' ELSE 'returning' END AND d.state NOT IN ('detained', 'shipped_back') UNION "
        "ALL SELECT d.order_id::text FROM customs.declaration d LEFT JOIN customs.waiting w USING "
        "(order_id) WHERE d.state = 'matched' AND w.order_id IS NULL",
        "a declaration waits for a batch its state does not call for, or should wait and does not",
    ),
    Invariant(
        "customs_documents_complete",
        "SELECT d.order_id::text FROM customs.declaration d LEFT JOIN customs.document p USING "
        "(order_id) GROUP BY d.order_id HAVING count(p.kind) <> cardinality(d.present) OR "
        "(d.attempt > 0 AND count(p.kind) < 4)",
        "a document is missing, or a list was lodged without all of its documents",
    ),
    Invariant(
        "customs_released_has_number",
        "SELECT order_id::text FROM customs.declaration WHERE (released OR state IN ('released', "
        "'closed')) AND (invt_no IS NULL OR attempt = 0)",
        "goods are released without a list customs numbered",
    ),
    Invariant(
        "customs_return_fits_state",
        "SELECT d.order_id::text FROM customs.declaration d LEFT JOIN (SELECT order_id, "
        "bool_or(state IN ('asked', 'granted')) AS open, bool_or(state IN ('back', 'late')) AS "
        "back FROM customs.goods_return GROUP BY order_id) r USING (order_id) WHERE (d.state = "
        "'returning') <> coalesce(r.open, false) OR (d.state = 'returned' AND NOT "
        "coalesce(r.back, false))",
        "a list is returning without a return, or a return is open for a list that is not",
    ),
    Invariant(
        "customs_returns_within_quantity",
        "SELECT r.order_id::text FROM customs.goods_return r, "
        "jsonb_to_recordset(r.lines) AS l(line_no int, quantity numeric, ordered numeric) "
        "GROUP BY r.order_id, l.line_no, l.ordered HAVING sum(l.quantity) > l.ordered",
        "more of a line came back than was ordered",
    ),
    Invariant(
        "customs_batches_hold_their_lists",
        "SELECT b.batch_id::text FROM customs.batch b LEFT JOIN customs.declaration d ON "
        "d.batch_id = b.batch_id GROUP BY b.batch_id, b.lists HAVING count(d.order_id) > b.lists",
        "more declarations name a batch than it left with",
    ),
    Invariant(
        "customs_batch_never_too_big",
        "SELECT batch_id::text FROM customs.batch WHERE lists NOT BETWEEN 1 AND 100",
        "a collective message has more lists than the schema allows",
    ),
    Invariant(
        "customs_bill_has_its_list",
        "SELECT b.tax_no FROM customs.tax_bill b LEFT JOIN customs.declaration d USING (invt_no) "
        "WHERE d.order_id IS NULL AND b.came_at < now() - interval '1 day' AND NOT EXISTS (SELECT "
        "FROM customs.cases c WHERE c.kind = 'bill_of_nobody' AND c.subject = b.tax_no AND "
        "c.closed_at IS NOT NULL)",
        "the authority billed a list that nobody here lodged",
    ),
    Invariant(
        "customs_bill_is_of_cleared_goods",
        "SELECT b.tax_no FROM customs.tax_bill b JOIN customs.declaration d USING (invt_no) "
        "WHERE b.billed_said AND NOT d.released",
        "a tax bill was announced for goods that were not released",
    ),
    Invariant(
        "customs_one_bill_in_force",
        "SELECT invt_no FROM customs.tax_bill WHERE billed_said AND NOT superseded GROUP BY "
        "invt_no HAVING count(*) > 1",
        "two tax bills of one list are both taken for right",
    ),
    Invariant(
        "customs_summary_holds_its_lists",
        "SELECT s.cop_no FROM customs.summary s LEFT JOIN customs.export_list e USING "
        "(summary_id) GROUP BY s.summary_id, s.cop_no HAVING count(e.order_id) > CASE s.state "
        "WHEN 'superseded' THEN 0 ELSE s.lists END OR (s.state IN ('requested', 'accepted', "
        "'declared', 'closed') AND count(e.order_id) <> s.lists) UNION ALL SELECT e.invt_no FROM "
        "customs.export_list e LEFT JOIN customs.summary s USING (summary_id) WHERE e.summary_id "
        "IS NOT NULL AND (s.summary_id IS NULL OR (e.state = 'consolidated') <> (s.state IN "
        "('declared', 'closed')))",
        "a list is in no live summary request that it should be in, or a request does not hold "
        "the lists it left with",
    ),
    Invariant(
        "customs_list_is_declared_by_its_own_request",
        "SELECT l.invt_no FROM customs.summary_line l JOIN customs.export_list e USING (invt_no) "
        "JOIN customs.summary_declaration d USING (decl_seq_no) LEFT JOIN customs.summary s ON "
        "s.sum_no = d.sum_no WHERE s.summary_id IS DISTINCT FROM e.summary_id",
        "a line of a list is in a declaration of another summary request than the list",
    ),
    Invariant(
        "customs_summary_is_of_closed_lists",
        "SELECT e.invt_no FROM customs.export_list e JOIN customs.declaration d USING (order_id) "
        "WHERE d.direction <> 'export' OR NOT (d.released OR d.state = 'withdrawing') OR "
        "d.invt_no <> e.invt_no",
        "a list is to be consolidated that was not released as an export",
    ),
    Invariant(
        "customs_declaration_has_its_lines",
        "SELECT d.decl_seq_no FROM customs.summary_declaration d LEFT JOIN customs.summary_line l "
        "USING (decl_seq_no) GROUP BY d.decl_seq_no HAVING count(l.invt_no) <> d.lines UNION ALL "
        "SELECT d.decl_seq_no FROM customs.summary_declaration d LEFT JOIN customs.summary s "
        "USING (sum_no) WHERE s.summary_id IS NULL AND d.came_at < now() - interval '1 day' AND "
        "NOT EXISTS (SELECT FROM customs.cases c WHERE c.kind = 'declaration_of_nobody' AND "
        "c.subject = d.decl_seq_no AND c.closed_at IS NOT NULL)",
        "a consolidated declaration has other lines than it was told with, or nobody here asked "
        "for it",
    ),
)
