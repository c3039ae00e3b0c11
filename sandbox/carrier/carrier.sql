-- The carrier's own file; `crossborder verify` may read waybill: the independent record of bookings.

-- One row per parcel. state: issued = published or in the outbox; late = to be issued at due; lost = never issued.
CREATE TABLE IF NOT EXISTS waybill (
    order_id TEXT PRIMARY KEY, logistics_no TEXT NOT NULL UNIQUE, state TEXT NOT NULL CHECK (state IN ('issued', 'late', 'lost')),
    issued_at REAL
);

-- Late waybills: the document waits here and is deleted once issued.
CREATE TABLE IF NOT EXISTS late (order_id TEXT PRIMARY KEY, due REAL NOT NULL, document BLOB NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS late_due ON late (due);

-- Waybill documents (511) that the customs authority has not recorded yet; deleted once it has.
CREATE TABLE IF NOT EXISTS notice (id INTEGER PRIMARY KEY AUTOINCREMENT, document BLOB NOT NULL);
