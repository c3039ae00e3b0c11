-- The bank's own file. `crossborder verify` reads movement over HTTP: the independent record of moved money.

-- One row per authorisation. The payer's particulars are stored because the capture must name the payer.
CREATE TABLE IF NOT EXISTS authorisation (
    authorisation_no TEXT PRIMARY KEY, reference TEXT NOT NULL, minor INTEGER NOT NULL, currency TEXT NOT NULL,
    token TEXT NOT NULL, payer BLOB NOT NULL, enterprise_code TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('authorised', 'capturing', 'captured', 'declined', 'voided'))
);

-- One row per idempotency key. state: done = the answer is final; running = finished at due; retry and lost = the
-- first attempt did nothing (answered with an error, or pending), and the same key may be sent again.
CREATE TABLE IF NOT EXISTS operation (
    key TEXT PRIMARY KEY, kind TEXT NOT NULL, fingerprint BLOB NOT NULL, item BLOB NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('done', 'running', 'retry', 'lost')), answer BLOB, due REAL
);
CREATE INDEX IF NOT EXISTS operation_due ON operation (due) WHERE state = 'running';

-- One row per captured payment; never refunded beyond what was captured.
CREATE TABLE IF NOT EXISTS payment (
    payment_no TEXT PRIMARY KEY, authorisation_no TEXT NOT NULL UNIQUE, reference TEXT NOT NULL, minor INTEGER NOT NULL,
    currency TEXT NOT NULL, refunded_minor INTEGER NOT NULL DEFAULT 0 CHECK (refunded_minor BETWEEN 0 AND minor)
);

-- The statement: every movement of money, in order. Nothing is ever changed here.
CREATE TABLE IF NOT EXISTS movement (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL CHECK (kind IN ('capture', 'refund', 'transfer')), reference TEXT NOT NULL,
    payment_no TEXT NOT NULL, minor INTEGER NOT NULL, currency TEXT NOT NULL, at REAL NOT NULL
);

-- Payment documents (411) that the customs authority has not recorded yet; deleted once it has.
CREATE TABLE IF NOT EXISTS notice (id INTEGER PRIMARY KEY AUTOINCREMENT, document BLOB NOT NULL);

-- Refunds by their own number. The key stays here for ever, though the bank forgets its answer.
CREATE TABLE IF NOT EXISTS refund (
    refund_no TEXT PRIMARY KEY, key TEXT NOT NULL, reference TEXT NOT NULL, payment_no TEXT NOT NULL, minor INTEGER NOT NULL,
    currency TEXT NOT NULL, at REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS refund_reference ON refund (reference);
CREATE INDEX IF NOT EXISTS authorisation_reference ON authorisation (reference);
CREATE INDEX IF NOT EXISTS movement_transfer ON movement (reference) WHERE kind = 'transfer';

-- Payments of which the first refund was declined (tok_refund_declined).
CREATE TABLE IF NOT EXISTS declined_once (payment_no TEXT PRIMARY KEY) WITHOUT ROWID;
