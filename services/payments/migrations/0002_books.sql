-- The books refuse a wrong movement by themselves, whoever writes it.

ALTER TABLE journal
    ADD CONSTRAINT journal_debit_first CHECK ((seq = 0) = (amount_minor > 0)) NOT VALID,
    ADD CONSTRAINT journal_purpose_known CHECK (purpose IN (
        'capture', 'settle_merchant', 'settle_tax', 'unsettle_merchant', 'unsettle_tax', 'refund', 'assess', 'bill',
        'book_difference', 'claim', 'refund_tax', 'pay_tax', 'restore_tax', 'reserve', 'unreserve', 'deposit',
        'write_off', 'write_off_tax')) NOT VALID,
    ADD CONSTRAINT journal_merchant_named CHECK (
        (account IN ('merchant_payable', 'merchant_claim')) = (party <> '')) NOT VALID;
ALTER TABLE journal VALIDATE CONSTRAINT journal_debit_first;
ALTER TABLE journal VALIDATE CONSTRAINT journal_purpose_known;
ALTER TABLE journal VALIDATE CONSTRAINT journal_merchant_named;

CREATE OR REPLACE FUNCTION refuse_unbalanced() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    unbalanced boolean;
    mixed boolean;
BEGIN
    -- One full join: it can only be hashed or merged, however few rows the planner expects.
    SELECT
        bool_or(debit.amount_minor + credit.amount_minor IS DISTINCT FROM 0),
        bool_or((debit.order_id, debit.purpose, debit.part, debit.currency)
                <> (credit.order_id, credit.purpose, credit.part, credit.currency)
            OR (debit.account, debit.party) = (credit.account, credit.party))
    INTO unbalanced, mixed
    FROM (SELECT * FROM fresh WHERE seq = 0) AS debit
    FULL JOIN (SELECT * FROM fresh WHERE seq = 1) AS credit USING (txn_id);
    IF unbalanced THEN
        RAISE EXCEPTION 'a transaction does not sum to zero in each currency'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'journal_balances', TABLE = 'journal';
    END IF;
    IF mixed THEN
        RAISE EXCEPTION 'both rows of a transaction are of one order, purpose and currency, and of two accounts'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'journal_one_movement', TABLE = 'journal';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION refuse_unbalanced IS 'Judges a whole statement at once: a movement is written by one statement or not at all. Its two rows are one movement between two accounts.';
