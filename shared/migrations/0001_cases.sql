-- What only a person can settle, once in each service's own schema.

CREATE TABLE cases (
    number     bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind       text        NOT NULL,
    subject    text        NOT NULL,
    order_id   uuid,
    details    jsonb       NOT NULL,
    times      int         NOT NULL DEFAULT 1 CHECK (times > 0),
    opened_at  timestamptz NOT NULL DEFAULT now(),
    last_at    timestamptz NOT NULL DEFAULT now(),
    closed_at  timestamptz,
    verdict    text,
    note       text,
    closed_by  text,
    CHECK ((closed_at IS NULL) = (verdict IS NULL)),
    CHECK (closed_at IS NULL OR (note <> '' AND closed_by <> ''))
);
CREATE UNIQUE INDEX cases_open ON cases (kind, subject) WHERE closed_at IS NULL;
CREATE INDEX cases_subject ON cases (kind, subject);
CREATE INDEX cases_order ON cases (order_id);
COMMENT ON TABLE cases IS 'Contradictions and dead ends that a person must settle. One case is open for each kind and subject; the details hold no personal data.';
