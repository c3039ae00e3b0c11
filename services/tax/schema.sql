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
    assessment    jsonb,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 70);
COMMENT ON TABLE tax_case IS 'One row per order, so one assessment in force. reserved_minor is what the order holds of the quota now: reserved while assessed, used once posted, 0 after. assessment is the fact as published.';

CREATE TABLE quota (
    person_ref     uuid   NOT NULL,
    year           int    NOT NULL,
    reserved_minor bigint NOT NULL CHECK (reserved_minor >= 0),
    posted_minor   bigint NOT NULL CHECK (posted_minor >= 0),
    PRIMARY KEY (person_ref, year)
) WITH (fillfactor = 70);
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
