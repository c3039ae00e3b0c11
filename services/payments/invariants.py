"""What must be true of payments' tables at every moment."""

from __future__ import annotations

from typing import Final

from shared.invariants import Invariant

INVARIANTS: Final[tuple[Invariant, ...]] = (
    Invariant(
        "payments_books_balance",
        "SELECT txn_id::text FROM payments.journal GROUP BY txn_id, currency HAVING sum(amount_minor) <> 0 "
        "OR count(*) <> 2 "
        "UNION ALL SELECT currency FROM payments.journal GROUP BY currency HAVING sum(amount_minor) <> 0",
        "a transaction of the journal, or a whole currency, does not sum to zero",
    ),
    Invariant(
        "payments_one_capture",
        "SELECT order_id::text FROM payments.journal WHERE purpose = 'capture' AND account = 'bank_clearing' "
        "GROUP BY order_id HAVING count(*) > 1",
        "money was captured more than once for an order",
    ),
    Invariant(
        "payments_number_once",
        "SELECT payment_no FROM payments.payment WHERE payment_no IS NOT NULL GROUP BY enterprise_code, "
        "payment_no "
        "HAVING count(*) > 1",
        "two orders have the same capture",
    ),
    Invariant(
        "payments_agree_with_books",
        "SELECT coalesce(p.order_id, j.order_id)::text FROM payments.payment p FULL JOIN ("
        "SELECT order_id, sum(amount_minor) FILTER (WHERE amount_minor > 0) AS taken, "
        "-sum(amount_minor) FILTER (WHERE amount_minor < 0) AS given_back FROM payments.journal "
        "WHERE account = 'bank_clearing' GROUP BY order_id) j ON j.order_id = p.order_id "
        "WHERE coalesce(p.captured_minor, 0) <> coalesce(j.taken, 0) OR coalesce(p.refunded_minor, 0) <> "
        "coalesce(j.given_back, 0)",
        "what an order says was captured or refunded is not what the journal says",
    ),
    Invariant(
        "payments_agree_with_state",
        "SELECT order_id::text FROM payments.payment WHERE "
        "(captured_minor > 0) <> (state IN ('captured', 'settled', 'refunding', 'refunded')) "
        "OR refunded_minor <> CASE WHEN state = 'refunded' THEN captured_minor ELSE 0 END",
        "an order's state does not fit what was captured and refunded",
    ),
    Invariant(
        "payments_buyer_funds",
        "SELECT p.order_id::text FROM payments.payment p LEFT JOIN (SELECT order_id, sum(amount_minor) AS "
        "minor "
        "FROM payments.journal WHERE account = 'buyer_funds' GROUP BY order_id) j ON j.order_id = p.order_id "
        "WHERE coalesce(j.minor, 0) <> CASE WHEN p.state IN ('captured', 'refunding') THEN "
        "-p.captured_minor ELSE 0 END",
        "a buyer's money is with us though the order is settled or refunded, or is not though it is captured",
    ),
    Invariant(
        "payments_awaited_is_asked",
        "SELECT coalesce(p.order_id, e.order_id)::text FROM (SELECT order_id, CASE state WHEN "
        "'authorising' THEN 'authorise' "
        "WHEN 'authorised' THEN 'capture' WHEN 'voiding' THEN 'void' WHEN 'refunding' THEN 'refund' END AS "
        "kind "
        "FROM payments.payment WHERE state IN ('authorising', 'authorised', 'voiding', 'refunding')) p "
        "FULL JOIN payments.effect e ON e.order_id = p.order_id AND e.kind = p.kind "
        "WHERE p.order_id IS NULL OR e.order_id IS NULL",
        "an order waits for an answer of the bank that nobody asks for, or the bank is asked for an order that does not wait",
    ),
    Invariant(
        "payments_no_old_effects",
        "SELECT order_id::text FROM payments.effect WHERE created_at < now() - interval '15 minutes'",
        "the bank has not told for a quarter of an hour what became of an operation",
    ),
)
