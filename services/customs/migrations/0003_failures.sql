-- A failure on the way is no decision: patience by time, messages lodged again in parts, and pauses of all lodging.

ALTER TABLE declaration
    ADD COLUMN spared      int NOT NULL DEFAULT 0 CHECK (spared >= 0),
    ADD COLUMN waits_since timestamptz;
COMMENT ON COLUMN declaration.spared IS 'How many of the lists lodged (attempt) were lodged again through no fault of theirs: these count for no correction.';
COMMENT ON COLUMN declaration.waits_since IS 'When the first failure on the way was told that nothing else was heard after; patience is measured from it.';

ALTER TABLE waiting ADD COLUMN part uuid;
COMMENT ON COLUMN waiting.part IS 'Of a message that was refused whole: who goes together in the next, smaller one, and with nobody else.';

ALTER TABLE batch ADD COLUMN part uuid;
ALTER TABLE batch DROP CONSTRAINT batch_closed_by_check;
ALTER TABLE batch ADD CONSTRAINT batch_closed_by_check CHECK (closed_by IN ('size','age','part','trial')) NOT VALID;
ALTER TABLE batch VALIDATE CONSTRAINT batch_closed_by_check;
COMMENT ON COLUMN batch.closed_by IS 'part: what was refused whole, in a smaller message; trial: one list alone while lodging pauses, to see whether the way is free.';

CREATE TABLE part (
    part         uuid        PRIMARY KEY,
    message_guid text        NOT NULL,
    lists        int         NOT NULL CHECK (lists BETWEEN 1 AND 99),
    tried        uuid,
    made_at      timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE part IS 'Append only: the smaller messages that each message was divided into which the authority refused whole. tried: the order whose document the refusal named, which goes alone.';

CREATE TABLE pause (
    scope       text        PRIMARY KEY,
    reason      text        NOT NULL CHECK (reason IN ('wait','ours')),
    code        text        NOT NULL,
    since       timestamptz NOT NULL,
    next_at     timestamptz NOT NULL,
    trials      int         NOT NULL DEFAULT 0 CHECK (trials >= 0),
    over        boolean     NOT NULL DEFAULT false,
    certificate text        NOT NULL
);
COMMENT ON TABLE pause IS 'Why nothing but trials is lodged now, by group of open batches or for all (*). wait: the way is blocked (an outage of the e-port); ours: our own signature, certificate or registration is refused, a person must mend it. over: a trial was answered well.';
