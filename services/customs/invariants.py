"""What must be true of customs' tables at every moment."""

from __future__ import annotations

from typing import Final

from shared.invariants import Invariant

INVARIANTS: Final[tuple[Invariant, ...]] = (
    Invariant(
        "customs_waiting_fits_state",
        "SELECT w.order_id::text FROM customs.waiting w JOIN customs.declaration d USING (order_id) WHERE d.state <> "
        "CASE w.kind WHEN 'declare' THEN 'matched' WHEN 'cancel' THEN 'withdrawing' ELSE 'returning' END "
        "AND d.state NOT IN ('detained', 'shipped_back') "
        "UNION ALL SELECT d.order_id::text FROM customs.declaration d LEFT JOIN customs.waiting w USING (order_id) "
        "WHERE d.state = 'matched' AND w.order_id IS NULL",
        "a declaration waits for a batch its state does not call for, or should wait and does not",
    ),
    Invariant(
        "customs_documents_complete",
        "SELECT d.order_id::text FROM customs.declaration d LEFT JOIN customs.document p USING (order_id) "
        "GROUP BY d.order_id HAVING count(p.kind) <> cardinality(d.present) OR (d.attempt > 0 AND count(p.kind) < 4)",
        "a document is missing, or a list was lodged without all of its documents",
    ),
    Invariant(
        "customs_released_has_number",
        "SELECT order_id::text FROM customs.declaration WHERE (released OR state IN ('released', 'closed')) "
        "AND (invt_no IS NULL OR attempt = 0)",
        "goods are released without a list customs numbered",
    ),
    Invariant(
        "customs_return_fits_state",
        "SELECT d.order_id::text FROM customs.declaration d LEFT JOIN (SELECT order_id, bool_or(state IN ('asked', 'granted')) AS open, "
        "bool_or(state IN ('back', 'late')) AS back FROM customs.goods_return GROUP BY order_id) r USING (order_id) "
        "WHERE (d.state = 'returning') <> coalesce(r.open, false) OR (d.state = 'returned' AND NOT coalesce(r.back, false))",
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
        "SELECT b.batch_id::text FROM customs.batch b LEFT JOIN customs.declaration d ON d.batch_id = b.batch_id "
        "GROUP BY b.batch_id, b.lists HAVING count(d.order_id) > b.lists",
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
        "WHERE d.order_id IS NULL AND b.came_at < now() - interval '1 day'",
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
        "SELECT invt_no FROM customs.tax_bill WHERE billed_said AND NOT superseded GROUP BY invt_no HAVING count(*) > 1",
        "two tax bills of one list are both taken for right",
    ),
)
