-- The withheld tax of goods that came back, so that a later return counts from what is still withheld.

ALTER TABLE payment ADD COLUMN returned_tax_minor bigint NOT NULL DEFAULT 0 CHECK (returned_tax_minor >= 0);
COMMENT ON COLUMN payment.returned_tax_minor IS 'The withheld tax of all goods that came back, also of those that came too late to get it; of returns before this column only what was given back is known.';
UPDATE payment AS p SET returned_tax_minor = j.minor
FROM (SELECT order_id, sum(amount_minor) AS minor FROM journal
    WHERE purpose = 'unsettle_tax' AND part > 0 AND seq = 0 GROUP BY order_id) AS j
WHERE p.order_id = j.order_id;
