"""What must be true between the services' tables, each as the query that finds what breaks it."""

from __future__ import annotations

from typing import Final

from shared.invariants import Invariant


def each_service(service: str) -> tuple[Invariant, ...]:
    """Return what holds for every service's schema; `service` is one of SERVICES."""
    return (
        Invariant(
            f"{service}_outbox_published",
            f"SELECT topic || ' outbox row ' || id FROM {service}.outbox ORDER BY id LIMIT "  # noqa: S608
            "1000",
            "records wait to be published",
        ),
        Invariant(
            f"{service}_effects_answered",
            f"SELECT order_id::text FROM {service}.effect WHERE created_at < now() - interval '1 "  # noqa: S608
            "minute' AND next_at < now() + interval '2 minutes'",
            "an outside party was asked over a minute ago and has not replied",
        ),
        Invariant(
            f"{service}_parked_is_held",
            f"SELECT DISTINCT p.order_id::text FROM {service}.parked p LEFT JOIN "  # noqa: S608
            f"{service}.held_order h "
            ""
            "USING (order_id) "
            "WHERE h.order_id IS NULL",
            "records of an order are parked though it is not held, so nothing will ever free them",
        ),
    )


BETWEEN: Final = (
    Invariant(
        "fulfilled_is_released",
        "SELECT coalesce(o.order_id, d.order_id)::text FROM (SELECT order_id FROM orders.orders "
        "WHERE state "
        "= 'fulfilled') o "
        "FULL JOIN (SELECT order_id FROM customs.declaration WHERE state IN ('released', "
        "'closed')) d USING "
        "(order_id) "
        "LEFT JOIN orders.orders w ON w.order_id = coalesce(o.order_id, d.order_id) "
        "WHERE o.order_id IS NULL AND coalesce(w.state, '') NOT IN ('withdrawing', 'unwinding') OR "
        "d.order_id IS NULL",
        "an order is fulfilled without a release, or goods are released without the order being "
        "fulfilled",
    ),
    Invariant(
        "fulfilled_is_paid",
        "SELECT o.order_id::text FROM orders.orders o LEFT JOIN payments.payment p USING "
        "(order_id) WHERE "
        "o.state = 'fulfilled' "
        "AND (p.order_id IS NULL OR p.state NOT IN ('captured', 'settled') OR p.captured_minor <> "
        "o.amount_paid_minor "
        "OR p.refunded_minor <> coalesce((o.doc ->> 'refunded_minor')::bigint, 0) OR p.currency "
        "<> o.currency)",
        "an order is fulfilled and the bank did not take exactly what it asked, less what its "
        "returns were refunded",
    ),
    Invariant(
        "fulfilled_is_settled",
        "SELECT o.order_id::text FROM orders.orders o JOIN payments.payment p USING (order_id) "
        "WHERE (o.state IN ('fulfilled', 'returned')) <> (p.state = 'settled') AND o.state IN "
        "('fulfilled', 'rejected', "
        "'cancelled', 'returned')",
        "a merchant waits for the money of released goods, or has that of goods that were not",
    ),
    Invariant(
        "undone_is_unpaid",
        "SELECT o.order_id::text FROM orders.orders o JOIN payments.payment p USING (order_id) "
        "WHERE (o.state IN ('rejected', 'cancelled') OR (o.state = 'returned' AND NOT (o.doc ->> "
        "'tax_kept')::bool)) "
        "AND p.captured_minor <> p.refunded_minor + p.excess_minor + p.written_off_minor "
        "OR (o.state = 'returned' AND p.refunded_minor <> (o.doc ->> 'refunded_minor')::bigint)",
        "an order came to nothing and the buyer's money was neither given back nor written off, "
        "or other than its returns say",
    ),
    Invariant(
        "undone_is_not_asked",
        "SELECT o.order_id::text FROM orders.orders o JOIN payments.payment p USING (order_id) "
        "WHERE o.state IN ('rejected', 'cancelled') AND p.state NOT IN ('declined', 'voided', "
        "'refunded')",
        "an order came to nothing and its payment is still open",
    ),
    Invariant(
        "fulfilled_is_taxed",
        "SELECT o.order_id::text FROM orders.orders o LEFT JOIN tax.tax_case c USING (order_id) "
        "WHERE (o.state = 'fulfilled' AND c.state IS DISTINCT FROM 'posted') "
        "OR (o.state IN ('rejected', 'cancelled') AND c.state IN ('assessed', 'posted')) "
        "OR (o.state = 'returned' AND c.state NOT IN ('restored', 'posted')) "
        "OR (o.state = 'returned' AND NOT (o.doc ->> 'tax_kept')::bool AND c.state <> 'restored')",
        "the tax of released goods was not posted, or that of an order that came to nothing "
        "still stands",
    ),
    Invariant(
        "quota_is_what_customs_released",
        # Recomputed from customs' side alone: assessments of released lists less goods back in
        # time. Each line counts by its quantity, and every sum is rounded half up.
        "WITH released AS (SELECT d.order_id, convert_from(p.doc, 'UTF8')::jsonb AS tax FROM "
        "customs.declaration d "
        "JOIN customs.document p ON p.order_id = d.order_id AND p.kind = 'tax' WHERE d.released), "
        "sold AS (SELECT order_id, tax ->> 'person_ref' AS person, (tax ->> 'year')::int AS year, "
        "(tax #>> '{dutiable_value,amount}')::numeric * 100 AS fen FROM released WHERE tax ->> "
        "'person_ref' IS NOT NULL), "
        "back AS (SELECT r.order_id, sum(floor((l.returned_before + l.quantity) * v.fen / "
        "l.ordered + 0.5) "
        "- floor(l.returned_before * v.fen / l.ordered + 0.5)) AS fen FROM customs.goods_return "
        "r JOIN released s USING (order_id), "
        "LATERAL jsonb_to_recordset(r.lines) AS l(line_no int, quantity numeric, returned_before "
        "numeric, ordered numeric), "
        "LATERAL (SELECT (x #>> '{dutiable_value,amount}')::numeric * 100 AS fen FROM "
        "jsonb_array_elements(s.tax -> 'lines') x "
        "WHERE (x ->> 'line_no')::int = l.line_no) v WHERE r.state = 'back' GROUP BY r.order_id), "
        "used AS (SELECT s.person, s.year, sum(s.fen - coalesce(b.fen, 0)) AS fen FROM sold s "
        "LEFT JOIN back b USING (order_id) "
        "GROUP BY s.person, s.year) "
        "SELECT coalesce(q.person_ref::text, u.person) || ' ' || coalesce(q.year, u.year), "
        "ARRAY(SELECT c.order_id::text FROM tax.tax_case c WHERE c.person_ref::text = "
        "coalesce(q.person_ref::text, u.person) "
        "AND c.year = coalesce(q.year, u.year)) FROM tax.quota q "
        "FULL JOIN used u ON u.person = q.person_ref::text AND u.year = q.year WHERE "
        "coalesce(q.posted_minor, 0) <> coalesce(u.fen, 0)",
        "the quota a person has used in a year is not what customs released for them, less what "
        "came back in time",
    ),
    Invariant(
        "returned_is_told_alike",
        "SELECT o.order_id::text FROM orders.orders o JOIN customs.declaration d USING (order_id) "
        "LEFT JOIN (SELECT order_id, bool_or(state = 'late') AS late FROM customs.goods_return "
        "GROUP BY order_id) r USING (order_id) "
        "WHERE (o.state = 'returned') <> (d.state = 'returned') AND o.state IN ('fulfilled', "
        "'rejected', 'cancelled', 'returned') "
        "OR coalesce((o.doc ->> 'tax_kept')::bool, false) <> coalesce(r.late, false) AND o.state "
        "IN ('fulfilled', 'returned')",
        "orders and customs disagree on whether goods came back, or came in time",
    ),
    Invariant(
        "tax_payable_is_assessed_less_paid",
        "SELECT c.order_id::text FROM tax.tax_case c LEFT JOIN payments.tax_due d USING (order_id) "
        "LEFT JOIN (SELECT order_id, sum(amount_minor) AS minor FROM payments.journal WHERE "
        "account = 'tax_payable' "
        "GROUP BY order_id) j USING (order_id) WHERE coalesce(j.minor, 0) <> -(CASE WHEN d.state "
        "= 'paid' THEN 0 "
        "WHEN d.state = 'due' THEN d.billed_minor WHEN c.state = 'posted' THEN "
        "coalesce(d.billed_minor, c.total_minor) "
        "ELSE 0 END)",
        "what the books owe customs is not the assessments in force, as billed where there is a "
        "bill, less the bills paid",
    ),
    Invariant(
        "bill_is_followed",
        "SELECT coalesce(b.tax_no, t.tax_no), ARRAY[b.order_id::text, t.order_id::text] "
        "FROM (SELECT d.order_id, b.tax_no, b.duty_minor + b.consumption_tax_minor + "
        "b.vat_minor AS minor FROM customs.tax_bill b JOIN customs.declaration d USING (invt_no) "
        "WHERE b.billed_said AND NOT b.superseded) b "
        "FULL JOIN tax.tax_bill t ON t.order_id = b.order_id "
        "WHERE b.order_id IS NULL OR t.order_id IS NULL OR b.minor <> t.billed_minor OR b.tax_no "
        "<> t.tax_no",
        "customs announced a tax bill that tax does not have, or has another",
    ),
    Invariant(
        "bill_handed_over_is_paid",
        "SELECT coalesce(t.tax_no, d.tax_no), ARRAY[t.order_id::text, d.order_id::text] "
        "FROM (SELECT * FROM tax.tax_bill WHERE state = 'due' AND billed_minor > 0) t "
        "FULL JOIN (SELECT * FROM payments.tax_due WHERE state IN ('due', 'paid')) d USING "
        "(order_id) "
        "WHERE t.order_id IS NULL OR d.order_id IS NULL OR t.billed_minor <> d.billed_minor OR "
        "d.payment_id <> t.payment_id",
        "a tax bill was handed over and is not being paid, or is paid and was not handed over",
    ),
    Invariant(
        "rebate_is_of_a_release",
        "SELECT l.list_no, ARRAY[d.order_id::text] FROM tax.rebate_line l LEFT JOIN "
        "customs.declaration d ON d.invt_no = l.list_no "
        "WHERE d.order_id IS NULL OR d.direction <> 'export' OR NOT d.released",
        "a refund of VAT is claimed of a list that was not released as an export",
    ),
    Invariant(
        "rebate_stands_on_a_closed_declaration",
        "SELECT l.list_no FROM tax.rebate_line l LEFT JOIN customs.summary_line s ON s.invt_no = "
        "l.list_no AND s.line_no = l.line_no "
        "LEFT JOIN customs.summary_declaration d USING (decl_seq_no) WHERE d.stage IS DISTINCT "
        "FROM 'closed' "
        "OR d.entry_id <> l.declaration OR s.declared_line <> l.declaration_line",
        "a refund of VAT is claimed of a line that is not in the closed declaration the claim "
        "names",
    ),
    Invariant(
        "rebate_claim_is_its_lines",
        "SELECT c.number FROM tax.rebate_claim c LEFT JOIN (SELECT claim, sum(refund_minor) AS "
        "refund FROM tax.rebate_line "
        "GROUP BY claim) l ON l.claim = c.number WHERE c.refund_minor IS DISTINCT FROM l.refund "
        "UNION ALL SELECT l.claim FROM tax.rebate_line l LEFT JOIN (SELECT list_no, line_no, "
        "sum(taxable_minor) AS basis "
        "FROM tax.rebate_invoice GROUP BY list_no, line_no) i USING (list_no, line_no) WHERE "
        "l.basis_minor IS DISTINCT FROM i.basis",
        "a rebate claim is not the sum of its lines, or a line's basis not that of its invoices",
    ),
    Invariant(
        "declared_lines_are_the_lists",
        # Amounts are printed with all decimals of their currency: the scale is its exponent.
        "SELECT coalesce(l.invt_no, s.invt_no) FROM (SELECT e.invt_no, (x ->> 'line_no')::int AS "
        "line_no, (x ->> 'quantity')::numeric AS "
        "quantity, x ->> 'unit' AS unit, x #>> '{total,currency}' AS currency, (x #>> "
        "'{total,amount}')::numeric AS amount "
        "FROM customs.export_list e JOIN customs.document p ON p.order_id = e.order_id AND "
        "p.kind = 'order', "
        "LATERAL jsonb_array_elements(convert_from(p.doc, 'UTF8')::jsonb -> 'lines') x WHERE "
        "e.state = 'consolidated') l "
        "FULL JOIN (SELECT s.* FROM customs.summary_line s JOIN customs.export_list e USING "
        "(invt_no) WHERE e.state = 'consolidated') s "
        "ON s.invt_no = l.invt_no AND s.line_no = l.line_no WHERE (l.quantity, l.unit, "
        "l.currency, l.amount * 10 ^ scale(l.amount)) "
        "IS DISTINCT FROM (s.quantity, s.unit, s.currency, s.amount_minor)",
        "the lines of consolidated declarations are not those of their lists, each once, with "
        "their quantities and amounts",
    ),
    Invariant(
        "payment_has_order",
        "SELECT p.order_id::text FROM payments.payment p LEFT JOIN orders.orders o USING "
        "(order_id) WHERE o.order_id IS NULL",
        "a payment has no order",
    ),
    Invariant(
        "declaration_has_order",
        "SELECT d.order_id::text FROM customs.declaration d LEFT JOIN orders.orders o USING "
        "(order_id) "
        "WHERE o.order_id IS NULL AND 'order' = ANY(d.present)",
        "a list has no order",
    ),
    Invariant(
        "unwinding_ends",
        "SELECT o.order_id::text FROM orders.orders o WHERE o.state = 'unwinding' AND "
        "o.updated_at < now() - "
        "interval '2 minutes'",
        "an order has been unwinding for two minutes",
    ),
)
