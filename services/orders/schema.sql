-- Orders: where each order stands, and how it got there.

CREATE TABLE orders (
    order_id          uuid        PRIMARY KEY,
    order_no          text        NOT NULL,
    platform_code     text,
    corridor          text,
    direction         text,
    mode              text,
    state             text        NOT NULL CHECK (state IN ('awaits_order','placed','lodged','fulfilled','withdrawing','unwinding',
                                 'rejected','cancelled','returned')),
    doc               json        NOT NULL,
    version           int         NOT NULL,
    currency          text,
    goods_value_minor bigint,
    amount_paid_minor bigint,
    placed_at         timestamptz,
    received_at       timestamptz NOT NULL,
    updated_at        timestamptz NOT NULL,
    ended_at          timestamptz
) WITH (fillfactor = 40);
CREATE INDEX orders_order_no ON orders (order_no);
-- No index has a column that changes on the way, so that a step of an order writes its row and nothing else.
CREATE INDEX orders_open ON orders (received_at) WHERE ended_at IS NULL;
COMMENT ON TABLE orders IS 'One row per order. doc is the rest of the aggregate as the domain keeps it.';

CREATE TABLE submission (
    order_id    uuid  PRIMARY KEY,
    fingerprint bytea NOT NULL
);
COMMENT ON TABLE submission IS 'Append only: a digest of each field as submitted (keyed where personal), as JSON, to tell a repetition from another order under the same number. Apart from the order, whose row is written at every step.';

CREATE TABLE timeline (
    id        bigint GENERATED ALWAYS AS IDENTITY,
    order_id  uuid        NOT NULL,
    at        timestamptz NOT NULL,
    source    text        NOT NULL,
    type      text        NOT NULL,
    summary   json        NOT NULL,
    PRIMARY KEY (order_id, id)
);
COMMENT ON TABLE timeline IS 'Append only: every fact heard or said about an order, for people to read; no personal data.';
