-- The carrier's own file; `crossborder verify` may read waybill as the witness of what was booked.

-- One row per parcel. state: issued = on the wire (or in the outbox), late = booked, to be issued at due, lost = never.
CREATE TABLE IF NOT EXISTS waybill (
    order_id TEXT PRIMARY KEY, logistics_no TEXT NOT NULL UNIQUE, state TEXT NOT NULL CHECK (state IN ('issued', 'late', 'lost')),
    issued_at REAL
);

-- Waybills that are late: the record waits here, gone once issued.
CREATE TABLE IF NOT EXISTS late (order_id TEXT PRIMARY KEY, due REAL NOT NULL, document BLOB NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS late_due ON late (due);

-- Waybill documents (511) the customs authority has not recorded yet; gone once it has.
CREATE TABLE IF NOT EXISTS notice (id INTEGER PRIMARY KEY AUTOINCREMENT, document BLOB NOT NULL);
