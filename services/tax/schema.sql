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
COMMENT ON TABLE quota IS 'What of a person''s yearly limit is reserved by open orders and used by released ones; the row is locked while an order is decided, so concurrent orders never exceed the limit together.';
