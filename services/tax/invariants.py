"""What must be true of tax's tables at every moment."""

from __future__ import annotations

from typing import Final

from shared.invariants import Invariant

INVARIANTS: Final[tuple[Invariant, ...]] = (
    Invariant(
        "tax_quota_is_what_orders_hold",
        "SELECT coalesce(q.person_ref, c.person_ref)::text FROM tax.quota q "
        "FULL JOIN (SELECT person_ref, year, coalesce(sum(reserved_minor) FILTER (WHERE state "
        "= 'assessed'), 0) AS reserved, coalesce(sum(reserved_minor) FILTER (WHERE state = "
        "'posted'), 0) AS posted FROM tax.tax_case WHERE person_ref IS NOT NULL "
        "GROUP BY person_ref, year) c ON c.person_ref = q.person_ref AND c.year = q.year "
        "WHERE coalesce(q.reserved_minor, 0) <> coalesce(c.reserved, 0) OR "
        "coalesce(q.posted_minor, 0) <> coalesce(c.posted, 0)",
        "a person's quota is not the sum of what their orders hold",
    ),
    Invariant(
        "tax_quota_is_its_ledger",
        "SELECT coalesce(q.person_ref, e.person_ref)::text FROM tax.quota q "
        "FULL JOIN (SELECT person_ref, year, sum(CASE kind WHEN 'reserve' THEN amount_minor "
        "WHEN 'restore' THEN 0 ELSE -amount_minor END) AS reserved, sum(CASE kind WHEN 'post' "
        "THEN amount_minor WHEN 'restore' THEN -amount_minor ELSE 0 END) AS posted "
        "FROM tax.quota_entry GROUP BY person_ref, year) e "
        "ON e.person_ref = q.person_ref AND e.year = q.year "
        "WHERE coalesce(q.reserved_minor, 0) <> coalesce(e.reserved, 0) OR "
        "coalesce(q.posted_minor, 0) <> coalesce(e.posted, 0)",
        "a person's quota is not the sum of its entries",
    ),
    Invariant(
        "tax_quota_entered_once",
        "SELECT order_id::text FROM tax.quota_entry GROUP BY order_id "
        "HAVING count(*) FILTER (WHERE kind = 'reserve') <> 1 OR count(*) FILTER (WHERE kind "
        "IN ('post', 'void')) > 1 OR count(DISTINCT (person_ref, year)) > 1 OR "
        "coalesce(sum(amount_minor) FILTER (WHERE kind = 'restore'), 0) > "
        "coalesce(sum(amount_minor) FILTER (WHERE kind = 'post'), 0) OR sum(amount_minor) "
        "FILTER (WHERE kind IN ('post', 'void')) <> sum(amount_minor) FILTER (WHERE kind = "
        "'reserve')",
        "an order reserved, posted or voided quota other than once, or was given back more "
        "than it posted",
    ),
    Invariant(
        "tax_weight_is_what_orders_hold",
        "SELECT coalesce(w.person_ref, c.person_ref)::text FROM tax.weight w "
        "FULL JOIN (SELECT person_ref, year, x ->> 1 AS hs, coalesce(sum((x ->> 3)::bigint) "
        "FILTER (WHERE state = 'assessed'), 0) AS reserved, coalesce(sum((x ->> 3)::bigint) "
        "FILTER (WHERE state <> 'assessed'), 0) AS posted FROM tax.tax_case, "
        "LATERAL jsonb_array_elements(weights) x WHERE weights IS NOT NULL "
        "GROUP BY person_ref, year, x ->> 1) c "
        "ON c.person_ref = w.person_ref AND c.year = w.year AND c.hs = w.hs "
        "WHERE coalesce(w.reserved_mg, 0) <> coalesce(c.reserved, 0) OR coalesce(w.posted_mg, "
        "0) <> coalesce(c.posted, 0)",
        "a person's weight of goods limited by the year is not the sum of what their orders hold",
    ),
    Invariant(
        "tax_weight_is_its_ledger",
        "SELECT coalesce(w.person_ref, e.person_ref)::text FROM tax.weight w "
        "FULL JOIN (SELECT person_ref, year, hs, sum(CASE kind WHEN 'reserve' THEN amount_mg "
        "WHEN 'restore' THEN 0 ELSE -amount_mg END) AS reserved, sum(CASE kind WHEN 'post' "
        "THEN amount_mg WHEN 'restore' THEN -amount_mg ELSE 0 END) AS posted "
        "FROM tax.weight_entry GROUP BY person_ref, year, hs) e "
        "ON e.person_ref = w.person_ref AND e.year = w.year AND e.hs = w.hs "
        "WHERE coalesce(w.reserved_mg, 0) <> coalesce(e.reserved, 0) OR coalesce(w.posted_mg, "
        "0) <> coalesce(e.posted, 0)",
        "a person's weight of goods limited by the year is not the sum of its entries",
    ),
    Invariant(
        "tax_weight_entered_once",
        "SELECT order_id::text FROM tax.weight_entry GROUP BY order_id, line_no "
        "HAVING count(*) FILTER (WHERE kind = 'reserve') <> 1 OR count(*) FILTER (WHERE kind "
        "IN ('post', 'void')) > 1 OR count(DISTINCT (person_ref, year, hs)) > 1 OR "
        "coalesce(sum(amount_mg) FILTER (WHERE kind = 'restore'), 0) > "
        "coalesce(sum(amount_mg) FILTER (WHERE kind = 'post'), 0) OR sum(amount_mg) FILTER "
        "(WHERE kind IN ('post', 'void')) <> sum(amount_mg) FILTER (WHERE kind = 'reserve')",
        "a line reserved, posted or voided a yearly weight other than once, or was given back "
        "more than it posted",
    ),
    Invariant(
        "tax_lines_sum_to_head",
        "SELECT order_id::text FROM tax.tax_case, "
        "LATERAL (SELECT sum((l #>> '{duty,amount}')::numeric + (l #>> "
        "'{vat,amount}')::numeric + (l #>> '{consumption_tax,amount}')::numeric) AS total "
        "FROM jsonb_array_elements(assessment -> 'lines') l) s "
        "WHERE assessment IS NOT NULL AND coalesce(s.total, 0) + (assessment #>> "
        "'{parcel_tax,amount}')::numeric <> (assessment #>> '{total,amount}')::numeric",
        "an assessment's lines do not sum to its head",
    ),
    Invariant(
        "tax_assessment_names_its_rules",
        "SELECT order_id::text FROM tax.tax_case "
        "WHERE assessment IS NOT NULL AND (jsonb_array_length(assessment -> 'rules') = 0 OR "
        "assessed_from IS NULL)",
        "an assessment does not say which rules it used, or what it was worked out from",
    ),
    Invariant(
        "tax_holds_only_while_in_force",
        "SELECT order_id::text FROM tax.tax_case "
        "WHERE reserved_minor > 0 AND state NOT IN ('assessed', 'posted')",
        "an order that is undone still holds quota",
    ),
    Invariant(
        "tax_dispute_has_its_case",
        "SELECT b.order_id::text FROM tax.tax_bill b LEFT JOIN tax.bill_case k "
        "ON k.order_id = b.order_id AND k.reason = 'far_off' "
        "WHERE (b.state = 'disputed' AND (k.order_id IS NULL OR k.closed_at IS NOT NULL)) OR "
        "(b.state IN ('settled', 'consolidated', 'due') AND k.order_id IS NOT NULL AND "
        "k.closed_at IS NULL)",
        "a tax bill waits for a person and nobody is told, or was settled and still waits",
    ),
    Invariant(
        "tax_bill_in_time",
        "SELECT b.order_id::text FROM tax.tax_bill b LEFT JOIN tax.bill_case k "
        "ON k.order_id = b.order_id AND k.reason = 'overdue' "
        "WHERE b.state IN ('disputed', 'settled', 'consolidated') AND b.pay_until < now() - "
        "interval '1 day' AND k.order_id IS NULL",
        "the last day of payment is over, the bill is not paid and nobody is told",
    ),
)
