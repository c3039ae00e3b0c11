-- Tax: one assessment per order, and each person's yearly quota.

CREATE TABLE tax_case (
    order_id      uuid   PRIMARY KEY,
    state         text   NOT NULL CHECK (state IN ('assessed','refused','voided','posted','restored')),
    version       int    NOT NULL,
    person_ref    uuid,
    year          int,
    regime        text,
    currency      text,
    reserved_minor bigint NOT NULL CHECK (reserved_minor >= 0),
    total_minor   bigint NOT NULL CHECK (total_minor >= 0),
    assessment    jsonb    STORAGE EXTERNAL,
    assessed_from jsonb    STORAGE EXTERNAL,
    weights       jsonb,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);
COMMENT ON TABLE tax_case IS 'One row per order, so one assessment in force. reserved_minor is what the order holds of the quota now: reserved while assessed, used once posted, less what came back in time, 0 once voided. total_minor is what it owes, less what is not levied for the same reason. assessment is the fact as published; assessed_from is what it, or a refusal, was worked out from: goods, amounts, day, use of the year before, edition of the rules. weights is what the order holds now of yearly weights, as [line, HS prefix, milligrams in all, milligrams held], none where its goods are not limited by weight.';

CREATE TABLE rule_set (
    edition text        PRIMARY KEY,
    files   jsonb       NOT NULL,
    used_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE rule_set IS 'Append only: every edition of the rules that was in force, its files by name, since used_at. With it and assessed_from an assessment is worked out again.';

CREATE TABLE quota (
    person_ref     uuid   NOT NULL,
    year           int    NOT NULL,
    reserved_minor bigint NOT NULL CHECK (reserved_minor >= 0),
    posted_minor   bigint NOT NULL CHECK (posted_minor >= 0),
    PRIMARY KEY (person_ref, year)
) WITH (fillfactor = 50);
COMMENT ON TABLE quota IS 'The balance of quota_entry, kept in step by the statement that writes the entries: what of a person''s yearly limit is reserved by open orders and used by released ones. The row is locked while an order is decided, so concurrent orders never exceed the limit together.';

CREATE TABLE quota_entry (
    order_id     uuid        NOT NULL,
    kind         text        NOT NULL CHECK (kind IN ('reserve','post','void','restore')),
    part         int         NOT NULL CHECK (part >= 0 AND (part > 0) = (kind = 'restore')),
    person_ref   uuid        NOT NULL,
    year         int         NOT NULL,
    amount_minor bigint      NOT NULL CHECK (amount_minor > 0),
    entered_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (order_id, kind, part)
);
COMMENT ON TABLE quota_entry IS 'Append only: the ledger of the personal yearly quota. An order reserves, then posts at its release or is voided; what came back in time is restored. The key lets each happen once per order; part counts the returns of an order that is given back in parts. person_ref is a keyed hash of the identity number, never the number.';
COMMENT ON COLUMN quota_entry.year IS 'The Beijing calendar year of the day the order was placed, by which it was assessed.';

CREATE TABLE weight (
    person_ref  uuid   NOT NULL,
    year        int    NOT NULL,
    hs          text   NOT NULL,
    reserved_mg bigint NOT NULL CHECK (reserved_mg >= 0),
    posted_mg   bigint NOT NULL CHECK (posted_mg >= 0),
    PRIMARY KEY (person_ref, year, hs),
    FOREIGN KEY (person_ref, year) REFERENCES quota
) WITH (fillfactor = 70);
COMMENT ON TABLE weight IS 'The balance of weight_entry, kept in step by the statement that writes the entries: what of goods that the positive list limits by kilograms a person and year is reserved by open orders and used by released ones. Guarded by the row of quota of the same person and year, which is locked while an order is decided.';

CREATE TABLE weight_entry (
    order_id   uuid        NOT NULL,
    line_no    int         NOT NULL,
    kind       text        NOT NULL CHECK (kind IN ('reserve','post','void','restore')),
    part       int         NOT NULL CHECK (part >= 0 AND (part > 0) = (kind = 'restore')),
    person_ref uuid        NOT NULL,
    year       int         NOT NULL,
    hs         text        NOT NULL,
    amount_mg  bigint      NOT NULL CHECK (amount_mg > 0),
    entered_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (order_id, line_no, kind, part)
);
COMMENT ON TABLE weight_entry IS 'Append only: the ledger of the yearly weights of the positive list, by line of an order; kind, part, person_ref and year as in quota_entry. hs is the prefix of the list whose note limits the goods.';

CREATE TABLE tax_bill (
    order_id       uuid        PRIMARY KEY REFERENCES tax_case,
    tax_no         text        NOT NULL UNIQUE,
    state          text        NOT NULL CHECK (state IN ('disputed','settled','consolidated','due','returned','voided')),
    currency       text        NOT NULL,
    withheld_minor bigint      NOT NULL CHECK (withheld_minor >= 0),
    assessed_minor bigint      NOT NULL CHECK (assessed_minor >= 0),
    billed_minor   bigint      NOT NULL CHECK (billed_minor >= 0),
    outcome        text        CHECK (outcome IN ('exact','booked','refund','claim')),
    merchant_code  text        NOT NULL,
    pay_at         timestamptz NOT NULL,
    pay_until      timestamptz NOT NULL,
    payment_book   text,
    payment_id     uuid,
    corrections    int         NOT NULL DEFAULT 0 CHECK (corrections >= 0),
    came_at        timestamptz NOT NULL DEFAULT now(),
    changed_at     timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT due_is_in_a_book CHECK (state NOT IN ('consolidated', 'due') OR payment_book IS NOT NULL),
    CONSTRAINT settled_has_outcome CHECK (state NOT IN ('settled', 'consolidated', 'due') OR outcome IS NOT NULL)
) WITH (fillfactor = 70);
CREATE INDEX tax_bill_to_pay ON tax_bill (pay_at) WHERE state = 'consolidated';
CREATE INDEX tax_bill_open ON tax_bill (pay_until) WHERE state IN ('disputed', 'settled', 'consolidated');
COMMENT ON TABLE tax_bill IS 'The tax bill of each released list against what the shop withheld and what was assessed, until it is handed over for payment; one row per order, so a bill is paid at most once.';
COMMENT ON COLUMN tax_bill.corrections IS 'How often customs voided its bill and made another because goods came back; tax_no, assessed_minor and billed_minor are the last one''s.';
COMMENT ON COLUMN tax_bill.pay_at IS 'The beginning of the calendar day, Beijing time, on which it is handed over for payment; pay_until is the end of the 45th day after the release.';
COMMENT ON COLUMN tax_bill.payment_id IS 'The payment it was handed over in: all bills of a payment book that were due together.';

CREATE TABLE bill_case (
    order_id   uuid        NOT NULL REFERENCES tax_case,
    reason     text        NOT NULL CHECK (reason IN ('far_off','missing','contradicted','voided','overdue','uncorrected')),
    opened_at  timestamptz NOT NULL DEFAULT now(),
    verdict    text        CHECK (verdict IN ('accept','bear','close')),
    note       text,
    decided_at timestamptz,
    closed_at  timestamptz,
    PRIMARY KEY (order_id, reason)
);
CREATE INDEX bill_case_open ON bill_case (opened_at) WHERE closed_at IS NULL;
COMMENT ON TABLE bill_case IS 'What about a tax bill a person must look at. The person writes verdict, note and decided_at (crossborder tax cases settle); the service acts on them and closes the case.';

CREATE TABLE rebate_claim (
    number        text        PRIMARY KEY,
    merchant_code text        NOT NULL,
    month         text        NOT NULL CHECK (month ~ '^[0-9]{4}-[0-9]{2}$'),
    sequence      int         NOT NULL CHECK (sequence > 0),
    refund_minor  bigint      NOT NULL CHECK (refund_minor >= 0),
    edition       text        NOT NULL,
    prepared_at   timestamptz NOT NULL DEFAULT now(),
    UNIQUE (merchant_code, month, sequence)
);
COMMENT ON TABLE rebate_claim IS 'Append only: claims for the refund of VAT on exports, by merchant and month of the release, in fen (crossborder tax rebate prepare). edition is the digest of the rule files of exports it was worked out by.';

CREATE TABLE rebate_line (
    list_no      text    NOT NULL,
    line_no      int     NOT NULL,
    claim        text    NOT NULL REFERENCES rebate_claim,
    declaration  text    NOT NULL,
    declaration_line int NOT NULL CHECK (declaration_line > 0),
    hs_code      text    NOT NULL,
    quantity     numeric NOT NULL CHECK (quantity > 0),
    unit         text    NOT NULL,
    basis_minor  bigint  NOT NULL CHECK (basis_minor >= 0),
    rate         numeric NOT NULL CHECK (rate >= 0),
    refund_minor bigint  NOT NULL CHECK (refund_minor >= 0),
    rules        text[]  NOT NULL,
    PRIMARY KEY (list_no, line_no)
);
CREATE INDEX rebate_line_claim ON rebate_line (claim);
COMMENT ON TABLE rebate_line IS 'Append only: the lines of claims, each with the closed consolidated declaration and the line of it that it stands on. The key lets a line of a released list be claimed once.';

CREATE TABLE rebate_invoice (
    list_no       text    NOT NULL,
    line_no       int     NOT NULL,
    invoice_no    text    NOT NULL,
    sku           text    NOT NULL,
    quantity      numeric NOT NULL CHECK (quantity > 0),
    taxable_minor bigint  NOT NULL CHECK (taxable_minor >= 0),
    PRIMARY KEY (list_no, line_no, invoice_no, sku),
    FOREIGN KEY (list_no, line_no) REFERENCES rebate_line
);
CREATE INDEX rebate_invoice_used ON rebate_invoice (invoice_no, sku);
COMMENT ON TABLE rebate_invoice IS 'Append only: what claimed lines took of VAT special invoices, in their own units and fen without VAT.';
