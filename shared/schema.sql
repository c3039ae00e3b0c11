-- The message kernel's tables, once in each service's own schema (the search path says which).

CREATE TABLE consumer_offset (
    topic     text   NOT NULL,
    part      int    NOT NULL,
    next      bigint NOT NULL CHECK (next >= 0),
    PRIMARY KEY (topic, part)
) WITH (fillfactor = 50);
COMMENT ON TABLE consumer_offset IS 'The true offsets: moved by compare-and-swap in the transaction that handled the records, so a paused zombie is fenced and a gap is seen. What Kafka holds is a hint for lag.';

CREATE TABLE inbox (
    event_id  uuid        PRIMARY KEY,
    seen_at   timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE inbox IS 'Append only: events handled already: one that comes again (a relay died between send and delete) is dropped here.';
CREATE INDEX inbox_seen_at ON inbox USING brin (seen_at);

-- The one way to delete from the inbox. It runs with the rights of the tables' owner, since the service's own role may not,
-- and refuses what the topics may still deliver: they keep 14 days.
CREATE FUNCTION forget_inbox(older_than_days int) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE gone bigint;
BEGIN
    IF older_than_days < 15 THEN
        RAISE EXCEPTION 'keep the inbox for 15 days or more: % are fewer than the topics keep', older_than_days;
    END IF;
    DELETE FROM inbox WHERE seen_at < now() - make_interval(days => older_than_days);
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END $$;
REVOKE EXECUTE ON FUNCTION forget_inbox(int) FROM PUBLIC;

CREATE TABLE outbox (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic     text   NOT NULL,
    key       bytea  NOT NULL,
    headers   bytea  NOT NULL,
    value     bytea  NOT NULL,
    sealed    boolean NOT NULL DEFAULT false,
    at        timestamptz NOT NULL DEFAULT now()
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 5000);
COMMENT ON TABLE outbox IS 'Records to publish, written in the transaction that decided them, deleted once the broker acknowledged them. Rows of one order are written under its lock, so id order is their order on the wire.';

CREATE TABLE held_order (
    order_id  uuid        PRIMARY KEY,
    reason    text        NOT NULL,
    held_at   timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE held_order IS 'Orders one of whose records is in the dead letters: their later records wait in parked until it is replayed.';

CREATE TABLE parked (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id  uuid        NOT NULL,
    record    bytea       NOT NULL,
    parked_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX parked_order ON parked (order_id, id);
COMMENT ON TABLE parked IS 'Records of held orders in the order they came, sealed.';

CREATE TABLE dead_letter (
    topic     text        NOT NULL,
    part      int         NOT NULL,
    at_offset bigint      NOT NULL,
    reason    text        NOT NULL,
    at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, part, at_offset)
);
COMMENT ON TABLE dead_letter IS 'Records given up and not replayed with success yet, by where they came from; the bytes are in the dead-letter topic. A row goes when its replay is handled.';

CREATE TABLE process_end (
    reason    text        PRIMARY KEY,
    times     bigint      NOT NULL,
    last_at   timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE process_end IS 'How often a process of this service ended itself to be started anew, and why: a counter that outlives the process.';

CREATE TABLE effect (
    intent_id   uuid        PRIMARY KEY,
    order_id    uuid        NOT NULL,
    kind        text        NOT NULL,
    request     bytea       NOT NULL,
    attempts    int         NOT NULL DEFAULT 0,
    next_at     timestamptz NOT NULL DEFAULT now(),
    created_at  timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 5000);
CREATE INDEX effect_due ON effect (next_at);
COMMENT ON TABLE effect IS 'Instructions to an outside party, recorded before they are sent; intent_id is the idempotency key and never changes. A row goes when its answer is a fact.';
