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

CREATE TABLE export_list (
    order_id     uuid        PRIMARY KEY REFERENCES declaration,
    invt_no      text        NOT NULL UNIQUE,
    month        text        NOT NULL,
    customs_code text        NOT NULL,
    consignor    text        NOT NULL,
    closed_at    timestamptz NOT NULL,
    state        text        NOT NULL CHECK (state IN ('open','requested','consolidated','set_aside','returned')),
    requests     int         NOT NULL DEFAULT 0 CHECK (requests >= 0),
    summary_id   uuid,
    part         int,
    CONSTRAINT requested_by_one CHECK ((summary_id IS NOT NULL) = (state IN ('requested','consolidated')))
) WITH (fillfactor = 70);
CREATE INDEX export_list_open ON export_list (closed_at) WHERE state = 'open';
CREATE INDEX export_list_owed ON export_list (closed_at, month, state) WHERE state IN ('open','requested','set_aside');
CREATE INDEX export_list_summary ON export_list (summary_id) WHERE summary_id IS NOT NULL;
COMMENT ON TABLE export_list IS 'The closed export lists under statisticsFlag B, one row each: the one column summary_id lets a list be in one live request only. set_aside: a refusal named it, so a person must look (crossborder customs summaries take-up); returned: all its goods came back before it was taken up.';
COMMENT ON COLUMN export_list.month IS 'The calendar month in Beijing in which it was closed (899), by which it is consolidated.';
COMMENT ON COLUMN export_list.requests IS 'How often it was asked for.';

CREATE TABLE summary (
    summary_id   uuid        PRIMARY KEY,
    cop_no       text        NOT NULL UNIQUE,
    month        text        NOT NULL,
    customs_code text        NOT NULL,
    consignor    text        NOT NULL,
    state        text        NOT NULL CHECK (state IN ('requested','accepted','refused','declared','closed','superseded')),
    attempt      int         NOT NULL CHECK (attempt > 0),
    parts        int         NOT NULL CHECK (parts > 0),
    accepted     int[]       NOT NULL DEFAULT '{}',
    lists        int         NOT NULL CHECK (lists > 0),
    lines        int         NOT NULL CHECK (lines > 0),
    expected     int         NOT NULL CHECK (expected > 0),
    sum_no       text        UNIQUE,
    status       text,
    code         text,
    info         text,
    due_at       timestamptz NOT NULL,
    again_at     timestamptz,
    requested_at timestamptz NOT NULL,
    changed_at   timestamptz NOT NULL
);
CREATE INDEX summary_refused ON summary (again_at) WHERE state = 'refused';
COMMENT ON TABLE summary IS 'Requests to consolidate the closed export lists of a month, of one office and one consignor (CEB701), in parts messages. superseded: refused, and its lists were freed to be asked for anew. expected: declarations by our own grouping. due_at: the end of the last day of the law.';
COMMENT ON COLUMN summary.again_at IS 'When the lists of a refused request are free again; none: a person must say so (crossborder customs summaries again).';

CREATE TABLE summary_part (
    summary_id   uuid        NOT NULL REFERENCES summary,
    seq          int         NOT NULL CHECK (seq > 0),
    message_guid text        NOT NULL UNIQUE,
    lists        int         NOT NULL CHECK (lists > 0),
    PRIMARY KEY (summary_id, seq)
);
COMMENT ON TABLE summary_part IS 'Append only: the messages of each request.';

CREATE TABLE summary_declaration (
    decl_seq_no text        PRIMARY KEY,
    sum_no      text        NOT NULL,
    stage       text        NOT NULL CHECK (stage IN ('generated','declared','returned','closed')),
    said        text        NOT NULL CHECK (said IN ('generated','declared','closed')),
    dec_state   text        NOT NULL,
    entry_id    text,
    tmp_no      text,
    pre_no      text,
    count       int         NOT NULL CHECK (count > 0),
    told        int[]       NOT NULL,
    lines       int         NOT NULL CHECK (lines >= 0),
    came_at     timestamptz NOT NULL DEFAULT now(),
    changed_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT declared_has_number CHECK (stage NOT IN ('declared','closed') OR entry_id IS NOT NULL)
);
CREATE INDEX summary_declaration_sum ON summary_declaration (sum_no);
COMMENT ON TABLE summary_declaration IS 'The formal export declarations customs made of requests (CEB792), each as it was told last. told: the messages whose lines came, of count; said: what was announced of it.';

CREATE TABLE summary_line (
    invt_no       text    NOT NULL REFERENCES export_list (invt_no),
    line_no       int     NOT NULL,
    decl_seq_no   text    NOT NULL REFERENCES summary_declaration,
    declared_line int     NOT NULL CHECK (declared_line > 0),
    hs_code       text    NOT NULL,
    quantity      numeric NOT NULL CHECK (quantity > 0),
    unit          text    NOT NULL,
    amount_minor  bigint  NOT NULL CHECK (amount_minor >= 0),
    currency      text    NOT NULL,
    PRIMARY KEY (invt_no, line_no)
);
CREATE INDEX summary_line_of ON summary_line (decl_seq_no, declared_line);
COMMENT ON TABLE summary_line IS 'Append only: which line of which declaration each line of a list went into, with what it adds there. The key lets a line be declared once.';

CREATE TABLE summary_word (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id    uuid   NOT NULL REFERENCES declaration,
    kind        text   NOT NULL CHECK (kind IN ('requested','refused','set_aside','declared','closed')),
    summary_id  uuid   NOT NULL REFERENCES summary,
    decl_seq_no text   REFERENCES summary_declaration
);
COMMENT ON TABLE summary_word IS 'Facts about orders that are decided and not announced yet: a request has thousands of lists, so they are said in portions.';

CREATE TABLE month_asked (
    month    text        PRIMARY KEY,
    asked_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE month_asked IS 'Months a person asks to consolidate before the timer does (crossborder customs summaries request); the service takes up what is closed by then and deletes the row.';
