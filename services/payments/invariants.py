"""What must be true of payments' tables at every moment."""

from __future__ import annotations

from typing import Final

from shared.invariants import Invariant

INVARIANTS: Final[tuple[Invariant, ...]] = (
    Invariant(
        "payments_books_balance",
        "SELECT txn_id::text FROM payments.journal GROUP BY txn_id, currency HAVING "
        "sum(amount_minor) <> 0 "
        "OR count(*) <> 2 "
        "UNION ALL SELECT currency FROM payments.journal GROUP BY currency HAVING "
        "sum(amount_minor) <> 0",
        "a transaction of the journal, or a whole currency, does not sum to zero",
    ),
    Invariant(
        "payments_one_capture",
        "SELECT order_id::text FROM payments.journal WHERE purpose = 'capture' AND account = "
        "'bank_clearing' "
        "GROUP BY order_id HAVING count(*) > 1",
        "money was captured more than once for an order",
    ),
    Invariant(
        "payments_number_once",
        "SELECT payment_no FROM payments.payment WHERE payment_no IS NOT NULL GROUP BY "
        "enterprise_code, "
        "payment_no "
        "HAVING count(*) > 1",
        "two orders have the same capture",
    ),
    Invariant(
        "payments_agree_with_books",
        "SELECT coalesce(p.order_id, j.order_id)::text FROM payments.payment p FULL JOIN ("
        "SELECT order_id, sum(amount_minor) FILTER (WHERE amount_minor > 0) AS taken, "
        "-sum(amount_minor) FILTER (WHERE amount_minor < 0) AS given_back FROM payments.journal "
        "WHERE account = 'bank_clearing' AND purpose IN ('capture', 'refund') GROUP BY order_id) "
        "j ON j.order_id = p.order_id "
        "WHERE coalesce(p.captured_minor, 0) <> coalesce(j.taken, 0) OR "
        "coalesce(p.refunded_minor, 0) <> "
        "coalesce(j.given_back, 0)",
        "what an order says was captured or refunded is not what the journal says",
    ),
    Invariant(
        "payments_agree_with_state",
        "SELECT order_id::text FROM payments.payment WHERE "
        "(captured_minor > 0) <> (state IN "
        "('captured', 'settled', 'returning', 'refunding', 'refunded', 'giving_back') "
        "OR (state IN ('declined', 'voided') AND captured_minor > 0 "
        "AND refunded_minor + written_off_minor = captured_minor)) "
        "OR (state = 'refunded' AND refunded_minor + written_off_minor <> captured_minor - "
        "excess_minor) "
        "OR refunded_minor + excess_minor + written_off_minor > captured_minor "
        "OR (refunded_minor > 0 AND state NOT IN "
        "('settled', 'returning', 'refunded', 'declined', 'voided')) "
        "OR (state = 'returning') <> (return_goods_minor IS NOT NULL) OR (state = 'returning' AND "
        "return_no IS NULL)",
        "an order's state does not fit what was captured and refunded",
    ),
    Invariant(
        "payments_buyer_funds",
        "SELECT p.order_id::text FROM payments.payment p LEFT JOIN (SELECT order_id, "
        "sum(amount_minor) AS "
        "minor "
        "FROM payments.journal WHERE account = 'buyer_funds' GROUP BY order_id) j ON j.order_id = "
        "p.order_id "
        "WHERE coalesce(j.minor, 0) <> CASE p.state WHEN 'captured' THEN -p.captured_minor "
        "WHEN 'giving_back' THEN -p.captured_minor "
        "WHEN 'refunding' THEN p.excess_minor - p.captured_minor "
        "WHEN 'returning' THEN -(p.return_goods_minor + p.return_tax_minor) ELSE 0 END",
        "a buyer's money is with us though the order is settled or refunded, or is not though it "
        "is captured",
    ),
    Invariant(
        "payments_awaited_is_asked",
        "SELECT coalesce(p.order_id, e.order_id)::text FROM (SELECT order_id, CASE state WHEN "
        "'authorising' THEN 'authorise' "
        "WHEN 'authorised' THEN 'capture' WHEN 'voiding' THEN 'void' WHEN 'refunding' THEN "
        "'refund' "
        "WHEN 'returning' THEN 'refund' WHEN 'giving_back' THEN 'refund' END AS "
        "kind "
        "FROM payments.payment WHERE state IN "
        "('authorising', 'authorised', 'voiding', 'refunding', 'returning', 'giving_back')) p "
        "FULL JOIN (SELECT order_id, kind FROM payments.effect WHERE kind NOT IN ('refund_tax', "
        "'transfer')) e "
        "ON e.order_id = p.order_id AND e.kind = p.kind "
        "WHERE p.order_id IS NULL OR e.order_id IS NULL",
        "an order waits for an answer of the bank that nobody asks for, or the bank is asked for "
        "an order that does not wait",
    ),
    Invariant(
        "payments_attempt_is_open_once",
        "SELECT intent_id::text FROM payments.bank_attempt GROUP BY intent_id HAVING count(*) "
        "FILTER (WHERE state = 'open') > 1 "
        "OR count(*) <> max(number) UNION ALL SELECT a.intent_id::text FROM payments.bank_attempt "
        "a LEFT JOIN payments.effect e "
        "USING (intent_id) WHERE a.state = 'open' AND e.intent_id IS NULL",
        "the bank is asked under two keys at once, or under one that no instruction stands behind",
    ),
    Invariant(
        "payments_no_old_effects",
        # What waits for its next attempt, or for a person with a case, is not waiting for the bank.
        "SELECT order_id::text FROM payments.effect WHERE created_at < now() - interval '15 "
        "minutes' "
        "AND next_at < now() + interval '2 minutes'",
        "the bank has not told for a quarter of an hour what became of an operation",
    ),
    Invariant(
        "payments_deposit_never_overdrawn",
        "SELECT g.currency FROM payments.guarantee g LEFT JOIN (SELECT currency, "
        "coalesce(sum(amount_minor) FILTER (WHERE account = 'guarantee_free'), 0) AS free, "
        "coalesce(sum(amount_minor) FILTER (WHERE account = 'guarantee_reserved'), 0) AS reserved "
        "FROM payments.journal "
        "GROUP BY currency) j USING (currency) "
        "WHERE g.reserved_minor < 0 OR g.reserved_minor > g.amount_minor OR g.reserved_minor <> "
        "coalesce(j.reserved, 0) "
        "OR g.amount_minor - g.reserved_minor <> coalesce(j.free, 0)",
        "more of the deposit is reserved than there is, or the books say another sum",
    ),
    Invariant(
        "payments_bill_paid_once",
        "SELECT coalesce(d.order_id, j.order_id)::text FROM (SELECT order_id, billed_minor FROM "
        "payments.tax_due WHERE state = 'paid' "
        "AND billed_minor > 0) d FULL JOIN (SELECT order_id, count(*) AS times, sum(amount_minor) "
        "AS minor FROM payments.journal "
        "WHERE purpose = 'pay_tax' AND account = 'tax_payable' GROUP BY order_id) j USING "
        "(order_id) "
        "WHERE d.order_id IS NULL OR j.order_id IS NULL OR j.times <> 1 OR j.minor <> "
        "d.billed_minor",
        "a tax bill was paid other than once, or with another amount than was billed",
    ),
    Invariant(
        "payments_transfer_is_its_bills",
        "SELECT t.payment_id::text FROM payments.tax_payment t LEFT JOIN payments.tax_due d USING "
        "(payment_id) "
        "GROUP BY t.payment_id HAVING sum(d.billed_minor) IS DISTINCT FROM "
        "t.amount_minor::numeric OR count(d.order_id) <> t.seen "
        "OR (t.transfer_no IS NOT NULL AND count(*) FILTER (WHERE d.state <> 'paid') > 0)",
        "a transfer to customs is not the sum of its bills, or was made and a bill of it is not "
        "paid",
    ),
    Invariant(
        "payments_suspense_is_explained",
        # While a return is heard of from one side only its part is on its way.
        "SELECT d.order_id::text FROM payments.tax_due d JOIN payments.payment p USING (order_id) "
        "LEFT JOIN (SELECT order_id, "
        "sum(amount_minor) AS minor, sum(amount_minor) FILTER (WHERE purpose IN ('refund_tax', "
        "'write_off_tax')) AS refunded "
        "FROM payments.journal "
        "WHERE account = 'tax_suspense' GROUP BY order_id) s USING (order_id) WHERE "
        "coalesce(p.return_no, 0) >= d.returns "
        "AND coalesce(s.minor, 0) <> coalesce(s.refunded, 0) - d.refunded_minor",
        "a difference between withheld and billed tax is borne by nobody",
    ),
    Invariant(
        "payments_tax_refund_asked_once",
        "SELECT p.order_id::text FROM payments.payment p LEFT JOIN payments.tax_due d USING "
        "(order_id) "
        "LEFT JOIN (SELECT order_id, sum(amount_minor) AS minor FROM payments.journal WHERE "
        "purpose IN ('refund_tax', 'write_off_tax') "
        "AND seq = 0 "
        "GROUP BY order_id) j USING (order_id) "
        "LEFT JOIN (SELECT DISTINCT order_id FROM payments.effect WHERE kind = 'refund_tax') e ON "
        "e.order_id = p.order_id "
        "WHERE p.excess_minor <> coalesce(d.refunded_minor, 0) OR coalesce(j.minor, 0) > "
        "p.excess_minor "
        "OR (e.order_id IS NULL) <> (coalesce(j.minor, 0) = p.excess_minor)",
        "tax withheld too much was given back other than once, or nobody asks the bank for it",
    ),
)
