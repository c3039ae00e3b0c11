-- Customs: one declaration per order, collective messages, receipts.

CREATE TABLE declaration (
    order_id       uuid     PRIMARY KEY,
    state          text     NOT NULL CHECK (state IN ('collecting','matched','lodged','accepted','review','examination','held',
                            'released','closed','withdrawing','returning','mismatched','refused','detained','shipped_back',
                            'withdrawn','returned')),
    version        int      NOT NULL,
    direction      text,
    present        text[]   NOT NULL,
    attempt        int      NOT NULL,
    stored         boolean  NOT NULL,
    released       boolean  NOT NULL,
    cancel_refused boolean  NOT NULL,
    cop_no         text     NOT NULL UNIQUE,
    invt_no        text     UNIQUE,
    pre_no         text,
    status         text,
    batch_id       uuid,
    message_guid   text,
    group_key      text,
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 40);
CREATE INDEX declaration_message ON declaration (message_guid);
COMMENT ON TABLE declaration IS 'The list of one order; one row per order, so at most one live list. present names the documents there are.';

CREATE TABLE document (
    order_id    uuid     NOT NULL,
    kind        text     NOT NULL CHECK (kind IN ('order','payment','tax','waybill')),
    doc         bytea    STORAGE EXTERNAL NOT NULL,  -- sealed persons do not compress
    PRIMARY KEY (order_id, kind)
);
COMMENT ON TABLE document IS 'Append only: the documents a list is made of, as they came, the first of each kind. Persons are sealed inside. Apart from the declaration, whose row is written at every step.';

CREATE TABLE waiting (
    order_id    uuid        PRIMARY KEY REFERENCES declaration,
    kind        text        NOT NULL CHECK (kind IN ('declare','cancel','return')),
    group_key   text        NOT NULL,
    since       timestamptz NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);
CREATE INDEX waiting_group ON waiting (kind, group_key, since);
COMMENT ON TABLE waiting IS 'The open batch of each group: who waits to be lodged in the next collective message of its kind.';

CREATE TABLE goods_return (
    order_id       uuid        NOT NULL REFERENCES declaration,
    return_no      int         NOT NULL CHECK (return_no > 0),
    state          text        NOT NULL CHECK (state IN ('asked','granted','refused','back','late')),
    parts          jsonb       NOT NULL,
    refund_if_late boolean     NOT NULL,
    applied_at     timestamptz NOT NULL,
    pre_no         text,
    back_at        timestamptz CHECK ((back_at IS NOT NULL) = (state IN ('back','late'))),
    lines          jsonb       NOT NULL,
    PRIMARY KEY (order_id, return_no)
);
CREATE UNIQUE INDEX one_open_return ON goods_return (order_id) WHERE state IN ('asked','granted');
COMMENT ON TABLE goods_return IS 'Returns of cleared lists, whole or in parts, one after another. parts is what was asked for (empty: all that is left), lines what came back; late: after the term, so tax stays levied.';

CREATE TABLE batch (
    batch_id      uuid        PRIMARY KEY,
    kind          text        NOT NULL,
    group_key     text        NOT NULL,
    message_guid  text        NOT NULL UNIQUE,
    message_type  text        NOT NULL,
    lists         int         NOT NULL CHECK (lists BETWEEN 1 AND 100),
    closed_by     text        NOT NULL CHECK (closed_by IN ('size','age')),
    opened_at     timestamptz NOT NULL,
    lodged_at     timestamptz NOT NULL
);
COMMENT ON TABLE batch IS 'Append only: collective messages that left for the authority.';

CREATE TABLE receipt (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id      uuid        NOT NULL,
    message_type  text        NOT NULL,
    status        text        NOT NULL,
    code          text,
    info          text        NOT NULL,
    followed      boolean     NOT NULL,
    at            timestamptz NOT NULL
);
CREATE INDEX receipt_order ON receipt (order_id);
COMMENT ON TABLE receipt IS 'Append only: what the authority said of each list, and whether it changed anything (a contradiction does not).';

CREATE TABLE tax_bill (
    invt_no               text        NOT NULL,
    tax_no                text        NOT NULL,
    status                text        NOT NULL CHECK (status IN ('1', '2', '3')),
    duty_minor            bigint      CHECK (duty_minor >= 0),
    consumption_tax_minor bigint      CHECK (consumption_tax_minor >= 0),
    vat_minor             bigint      CHECK (vat_minor >= 0),
    payment_book          text,
    guarantor             text,
    other_tax_no          text,
    other_minor           bigint,
    billed_said           boolean     NOT NULL DEFAULT false,
    status_said           boolean     NOT NULL DEFAULT false,
    other_said            boolean     NOT NULL DEFAULT false,
    superseded            boolean     NOT NULL DEFAULT false,
    pending               boolean     NOT NULL DEFAULT true,
    came_at               timestamptz NOT NULL,
    PRIMARY KEY (invt_no, tax_no)
);
CREATE INDEX tax_bill_pending ON tax_bill (came_at) WHERE pending;
COMMENT ON TABLE tax_bill IS 'The electronic tax bills (CEB816) of each released list, each as it came first, in fen; one is in force, the others were void when it came (superseded) or contradict it; its status only grows (1 issued, 2 consolidated, 3 void). A CEB818 may overtake it, then the amounts are still missing. pending: there is something in it that was not announced yet; the _said columns tell what was.';
COMMENT ON COLUMN tax_bill.other_minor IS 'The amount of another bill for the same list: a contradiction, which changes nothing and is announced once.';
