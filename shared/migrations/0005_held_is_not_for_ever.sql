-- The bytes of a letter that holds its order outlive the topic's, and what operators ask of a service is a row here, not a header.

ALTER TABLE dead_letter
    ADD COLUMN order_id uuid,
    ADD COLUMN record   bytea,
    ADD COLUMN sealed   boolean NOT NULL DEFAULT true,
    ADD COLUMN attempts int     NOT NULL DEFAULT 1,
    ADD COLUMN error    text;
CREATE INDEX dead_letter_order ON dead_letter (order_id) WHERE order_id IS NOT NULL;
COMMENT ON TABLE dead_letter IS 'Records given up and not replayed with success yet, by where they came from. One that holds its order has its bytes here, sealed, until it is replayed or skipped; those of any other are in the dead-letter topic only.';
COMMENT ON COLUMN dead_letter.order_id IS 'The order it holds; NULL for one that holds none.';
COMMENT ON COLUMN dead_letter.sealed IS 'False only where an operator gave back, from the topic, the bytes of a letter of an earlier release.';

CREATE TABLE operator_request (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT now(),
    by_whom    text        NOT NULL CHECK (by_whom <> ''),
    act        text        NOT NULL CHECK (act IN ('replay', 'skip', 'drop', 'command')),
    order_id   uuid,
    letter     text,
    topic      text,
    part       int,
    at_offset  bigint,
    note       text        NOT NULL DEFAULT '' CHECK (act <> 'skip' OR note <> ''),
    record     bytea,
    CHECK (
        act = 'skip' AND order_id IS NOT NULL OR act = 'command' AND record IS NOT NULL OR num_nulls(topic, part, at_offset) = 0
    )
);
COMMENT ON TABLE operator_request IS 'Append only: what operators asked of this service about its dead letters and held orders, who and why. No record of a topic can ask for it.';
COMMENT ON COLUMN operator_request.record IS 'Of a command: the record as it would stand in the intake topic. It names an order and no person.';

CREATE TABLE operator_result (
    request_id bigint      PRIMARY KEY REFERENCES operator_request,
    at         timestamptz NOT NULL DEFAULT now(),
    outcome    text        NOT NULL CHECK (outcome IN ('done', 'failed', 'nothing')),
    details    jsonb       NOT NULL DEFAULT '{}'
);
COMMENT ON TABLE operator_result IS 'Append only: what became of each request, and of a skipped record what it was.';
