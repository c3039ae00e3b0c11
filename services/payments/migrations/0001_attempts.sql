-- What was asked of the bank and what it answered, and the attempts of an instruction.

CREATE TABLE bank_talk (
    order_id     uuid        NOT NULL,
    intent_id    uuid        NOT NULL,
    attempt      int         NOT NULL CHECK (attempt > 0),
    said         text        NOT NULL,
    kind         text        NOT NULL,
    asked_minor  bigint,
    asked_currency text      CHECK (length(asked_currency) = 3),
    asked_of     text,
    status       text        NOT NULL,
    code         text,
    reason       text,
    number       text,
    minor        bigint,
    currency     text        CHECK (length(currency) = 3),
    paid_at      timestamptz,
    by           text        NOT NULL DEFAULT 'bank',
    at           timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (order_id, intent_id, attempt, said)
);
COMMENT ON TABLE bank_talk IS 'Append only: what the bank was asked and each different word it had on it, without persons; numbers and value dates are never overwritten.';
COMMENT ON COLUMN bank_talk.said IS 'The word in short: status, code, number and amount; the same word again adds no row.';
COMMENT ON COLUMN bank_talk.asked_of IS 'The number of the hold, payment or payment book that it was about.';
COMMENT ON COLUMN bank_talk.paid_at IS 'When the money moved, as the bank says.';
COMMENT ON COLUMN bank_talk.by IS 'Whose word it is: the bank''s, what the bank has in its books (records), or a person''s.';

CREATE TABLE bank_attempt (
    intent_id    uuid        NOT NULL,
    number       int         NOT NULL CHECK (number > 0),
    order_id     uuid        NOT NULL,
    kind         text        NOT NULL,
    key          uuid        NOT NULL UNIQUE,
    state        text        NOT NULL CHECK (state IN ('open', 'refused', 'answered', 'done', 'not_done', 'written_off')),
    code         text,
    bank_no      text,
    minor        bigint      CHECK (minor >= 0),
    account      text,
    asked_again  int         NOT NULL DEFAULT 0,
    began_at     timestamptz NOT NULL DEFAULT now(),
    ended_at     timestamptz,
    PRIMARY KEY (intent_id, number),
    CONSTRAINT open_or_ended CHECK ((state = 'open') = (ended_at IS NULL))
);
CREATE UNIQUE INDEX one_open_attempt ON bank_attempt (intent_id) WHERE state = 'open';
CREATE INDEX bank_attempt_order ON bank_attempt (order_id);
COMMENT ON TABLE bank_attempt IS 'Attempts of an instruction to the bank, each with its own key. An instruction without a row is in its first, whose key is its own id; a refusal that is recorded ends an attempt, a missing word does not.';
COMMENT ON COLUMN bank_attempt.state IS 'refused: by the bank, for good; done, not_done, written_off: by a person''s word.';
COMMENT ON COLUMN bank_attempt.asked_again IS 'How often a person had the bank asked again under this key.';

ALTER TABLE payment ADD COLUMN written_off_minor bigint NOT NULL DEFAULT 0;
ALTER TABLE payment ADD CONSTRAINT written_off_is_not_refunded
    CHECK (written_off_minor >= 0 AND refunded_minor + excess_minor + written_off_minor <= captured_minor) NOT VALID;
ALTER TABLE payment VALIDATE CONSTRAINT written_off_is_not_refunded;
COMMENT ON COLUMN payment.written_off_minor IS 'What of an undone order''s money will not go back, by a person''s word.';
