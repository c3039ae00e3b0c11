-- Items that could not be handled, each set aside by itself so that the others go on.
CREATE TABLE aside (
    number    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source    text        NOT NULL,
    subject   text        NOT NULL,
    order_id  uuid,
    reason    text        NOT NULL,
    error     text        NOT NULL,
    times     int         NOT NULL DEFAULT 1,
    first_at  timestamptz NOT NULL DEFAULT now(),
    last_at   timestamptz NOT NULL DEFAULT now(),
    retry_at  timestamptz NOT NULL,
    UNIQUE (source, subject)
);
COMMENT ON TABLE aside IS 'Effects, outbox records and items of timers that failed alone. Each is tried again at retry_at, alone; its row goes once that succeeds.';
