-- Payments: one row per order, and the books.

CREATE TABLE payment (
    order_id           uuid        PRIMARY KEY,
    version            int         NOT NULL CHECK (version >= 0),
    state              text        NOT NULL CHECK (state IN ('authorising', 'authorised', 'captured', 'settled', 'returning', 'declined',
                                                             'voiding', 'voided', 'refunding', 'refunded')),
    unwinding          boolean     NOT NULL,
    currency           text        CHECK (length(currency) = 3),
    amount_minor       bigint      CHECK (amount_minor > 0),
    tax_withheld_minor bigint      CHECK (tax_withheld_minor >= 0),
    merchant_code      text,
    enterprise_code    text,
    authorisation_no   text,
    payment_no         text,
    captured_minor     bigint      NOT NULL CHECK (captured_minor >= 0),
    refund_no          text,
    refunded_minor     bigint      NOT NULL CHECK (refunded_minor >= 0),
    return_no          int         CHECK (return_no > 0),
    return_goods_minor bigint      CHECK (return_goods_minor >= 0),
    return_tax_minor   bigint      CHECK (return_tax_minor >= 0),
    excess_minor       bigint      NOT NULL DEFAULT 0 CHECK (excess_minor >= 0),
    made_at            timestamptz NOT NULL DEFAULT now(),
    changed_at         timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT never_refunds_more_than_captured CHECK (refunded_minor + excess_minor <= captured_minor),
    CONSTRAINT terms_known CHECK (
        state = 'voided' OR num_nulls(currency, amount_minor, tax_withheld_minor, merchant_code, enterprise_code) = 0),
    CONSTRAINT captured_has_number CHECK (captured_minor = 0 OR payment_no IS NOT NULL)
) WITH (fillfactor = 45);
COMMENT ON TABLE payment IS 'Each order''s payment. An order that was undone before it was heard of has a row without terms, so that its late OrderPlaced asks nothing of the bank.';
COMMENT ON COLUMN payment.version IS 'Facts announced about this order.';
COMMENT ON COLUMN payment.unwinding IS 'The order is being undone: an answer still under way is waited for, then voided or refunded.';
COMMENT ON COLUMN payment.amount_minor IS 'What the order asked for; captured_minor is what the bank took.';
COMMENT ON COLUMN payment.tax_withheld_minor IS 'The part of the amount that is the tax office''s once the goods are released.';
COMMENT ON COLUMN payment.return_no IS 'The last return of its goods that was heard of; return_goods_minor and return_tax_minor are there while the bank is asked to refund it.';
COMMENT ON COLUMN payment.excess_minor IS 'Tax withheld too much that the bank was asked to give back while the sale stands; refunded_minor is what an undone order gave back besides.';
COMMENT ON COLUMN payment.authorisation_no IS 'The bank''s number of the hold.';
COMMENT ON COLUMN payment.payment_no IS 'The bank''s number of the capture, as in the payment document.';

CREATE TABLE journal (
    txn_id       uuid        NOT NULL,
    seq          smallint    NOT NULL CHECK (seq IN (0, 1)),
    order_id     uuid        NOT NULL,
    purpose      text        NOT NULL,
    account      text        NOT NULL CHECK (account IN ('bank_clearing', 'buyer_funds', 'merchant_payable', 'tax_payable',
                             'tax_suspense', 'tax_difference', 'merchant_claim', 'guarantee_free', 'guarantee_reserved', 'own_funds')),
    party        text        NOT NULL,
    currency     text        NOT NULL CHECK (length(currency) = 3),
    amount_minor bigint      NOT NULL CHECK (amount_minor <> 0),
    part         int         NOT NULL DEFAULT 0 CHECK (part >= 0),
    booked_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (txn_id, seq)
);
COMMENT ON TABLE journal IS 'Append only: the books. Row 0 of a transaction is the debit (positive), row 1 the credit (negative); amounts in minor units.';
COMMENT ON COLUMN journal.txn_id IS 'uuid5(what the movement follows from, purpose): booking twice is booking once.';
COMMENT ON COLUMN journal.part IS 'The number of the return, of the corrected bill, or of the turn of sharing out a difference that a movement belongs to; 0 for all else.';
COMMENT ON COLUMN journal.party IS 'Whose part of the account: a merchant''s code, or empty.';
CREATE UNIQUE INDEX each_purpose_once ON journal (order_id, purpose, part, seq);

CREATE FUNCTION refuse_unbalanced() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM fresh GROUP BY txn_id, currency HAVING sum(amount_minor) <> 0) THEN
        RAISE EXCEPTION 'a transaction does not sum to zero in each currency'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'journal_balances', TABLE = 'journal';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION refuse_unbalanced IS 'Judges a whole statement at once: a movement is written by one statement or not at all.';
CREATE TRIGGER journal_balances AFTER INSERT ON journal
    REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION refuse_unbalanced();

CREATE VIEW balance AS
    SELECT account, party, currency, sum(amount_minor)::bigint AS minor, count(*) AS entries
    FROM journal GROUP BY account, party, currency;
COMMENT ON VIEW balance IS 'What each account holds, from the journal alone; debits positive.';

CREATE TABLE tax_due (
    order_id       uuid        PRIMARY KEY REFERENCES payment,
    tax_no         text        NOT NULL UNIQUE,
    state          text        NOT NULL CHECK (state IN ('settled', 'due', 'paid', 'restored')),
    currency       text        NOT NULL CHECK (length(currency) = 3),
    withheld_minor bigint      NOT NULL CHECK (withheld_minor >= 0),
    billed_minor   bigint      NOT NULL CHECK (billed_minor >= 0),
    outcome        text        NOT NULL CHECK (outcome IN ('exact', 'booked', 'refund', 'claim')),
    merchant_code  text        NOT NULL,
    refunded_minor bigint      NOT NULL CHECK (refunded_minor >= 0),
    payment_id     uuid,
    payment_book   text,
    booked_at_most_minor bigint NOT NULL DEFAULT 0 CHECK (booked_at_most_minor >= 0),
    returns        int         NOT NULL DEFAULT 0 CHECK (returns >= 0),
    turn           int         NOT NULL DEFAULT 0 CHECK (turn >= 0),
    made_at        timestamptz NOT NULL DEFAULT now(),
    changed_at     timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT due_has_payment CHECK (state NOT IN ('due', 'paid') OR payment_id IS NOT NULL)
) WITH (fillfactor = 70);
CREATE INDEX tax_due_payment ON tax_due (payment_id) WHERE payment_id IS NOT NULL;
COMMENT ON TABLE tax_due IS 'The tax bill of each order against what was withheld, until it is paid or not levied; one row per order and per bill, so a bill is paid at most once.';
COMMENT ON COLUMN tax_due.returns IS 'The last return of which tax said that its goods are not levied; the difference is shared out once the refund of it is heard of as well.';
COMMENT ON COLUMN tax_due.turn IS 'How often the difference was shared out anew, after a return or a corrected bill.';

CREATE TABLE tax_payment (
    payment_id   uuid        PRIMARY KEY,
    payment_book text        NOT NULL,
    currency     text        NOT NULL CHECK (length(currency) = 3),
    bills        int         NOT NULL CHECK (bills > 0),
    seen         int         NOT NULL CHECK (seen BETWEEN 0 AND bills),
    amount_minor bigint      NOT NULL CHECK (amount_minor > 0),
    transfer_no  text,
    paid_at      timestamptz,
    made_at      timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE tax_payment IS 'One transfer to customs for the bills of a payment book that fell due together. The bank is asked once all of them were seen, under one key for ever.';

CREATE TABLE guarantee (
    currency       text   PRIMARY KEY CHECK (length(currency) = 3),
    amount_minor   bigint NOT NULL,
    reserved_minor bigint NOT NULL,
    CONSTRAINT deposit_never_overdrawn CHECK (reserved_minor >= 0 AND reserved_minor <= amount_minor)
) WITH (fillfactor = 50);
COMMENT ON TABLE guarantee IS 'The deposit at customs, and what of it stands for tax that is assessed and not paid; kept in step with the journal by the statements that write it.';

CREATE TABLE uncovered (
    id           bigint GENERATED ALWAYS AS IDENTITY,
    order_id     uuid        PRIMARY KEY,
    currency     text        NOT NULL CHECK (length(currency) = 3),
    amount_minor bigint      NOT NULL CHECK (amount_minor > 0),
    since        timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE uncovered IS 'Tax of released goods that the deposit could not cover: it waits here, oldest first, until bills are paid or the deposit is raised.';
