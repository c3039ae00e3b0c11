-- The customs authority's own file: the register is what `crossborder verify` reads as the independent witness of what
-- was declared and released. Particulars are kept as keyed digests only; the key is in meta.

CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
INSERT OR IGNORE INTO meta VALUES ('digest_key', randomblob(32)), ('serial', 0);

-- Messages received: one that is delivered again is answered once.
CREATE TABLE IF NOT EXISTS message (guid TEXT PRIMARY KEY, kind TEXT NOT NULL) WITHOUT ROWID;

-- All tables have rowids: new rows go to the end, and only the small indexes are written at random.

-- The three documents, as platform, bank and carrier pushed them; the first of each stands.
CREATE TABLE IF NOT EXISTS order_document (order_id TEXT PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS payment_document (reference TEXT PRIMARY KEY, payment_no TEXT NOT NULL, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS waybill_document (
    logistics_code TEXT NOT NULL, logistics_no TEXT NOT NULL, order_id TEXT NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (order_id, logistics_code, logistics_no)
);

-- The register, one row per list. status = the last receipt's returnStatus (0: none given); state: waiting = for a
-- document, declared = accepted or cleared, returned = 100 and may be amended, refused = by the e-port,
-- cancelled = 399 on a cancellation, taken_back = 800 on a return, with which all goods of the list are back.
CREATE TABLE IF NOT EXISTS register (
    id INTEGER PRIMARY KEY, order_id TEXT NOT NULL, guid TEXT NOT NULL, family TEXT NOT NULL CHECK (family IN ('621', '603')),
    message_guid TEXT NOT NULL, order_no TEXT NOT NULL, cop_no TEXT NOT NULL, pre_no TEXT NOT NULL, invt_no TEXT,
    state TEXT NOT NULL CHECK (state IN ('silent', 'waiting', 'declared', 'returned', 'refused', 'cancelled', 'taken_back')),
    status INTEGER NOT NULL, returns INTEGER NOT NULL, app_time TEXT NOT NULL, released_at REAL, body BLOB NOT NULL
);
-- One live list per order.
CREATE UNIQUE INDEX IF NOT EXISTS register_live ON register (order_id) WHERE state IN ('silent', 'waiting', 'declared');
CREATE INDEX IF NOT EXISTS register_order ON register (order_id);
CREATE INDEX IF NOT EXISTS register_invt ON register (invt_no);
CREATE INDEX IF NOT EXISTS register_cop ON register (cop_no);

-- Receipts to be given later.
CREATE TABLE IF NOT EXISTS due (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, list_id INTEGER NOT NULL, status INTEGER NOT NULL, text TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS due_at ON due (at);
CREATE INDEX IF NOT EXISTS due_list ON due (list_id);

-- Goods of granted returns on their way back: when they arrive, and the application that their receipt names.
CREATE TABLE IF NOT EXISTS going_back (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, list_id INTEGER NOT NULL, application BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS going_back_at ON going_back (at);

-- Tax bills of released import lists. state: 0 to be issued, 1 issued, 2 consolidated into the payment book, 3 void.
CREATE TABLE IF NOT EXISTS bill (
    list_id INTEGER PRIMARY KEY, state INTEGER NOT NULL CHECK (state BETWEEN 0 AND 3), next_at REAL, tax_no TEXT, book TEXT
);
CREATE INDEX IF NOT EXISTS bill_due ON bill (next_at) WHERE next_at IS NOT NULL;

-- Messages of requests to consolidate lists (CEB701): a request is decided with the last of them.
CREATE TABLE IF NOT EXISTS summary_message (
    cop_no TEXT NOT NULL, seq INTEGER NOT NULL, origin TEXT NOT NULL, head BLOB NOT NULL, numbers BLOB NOT NULL,
    PRIMARY KEY (cop_no, seq)
);
-- Which line of which declaration each line of a consolidated list is part of.
CREATE TABLE IF NOT EXISTS consolidated (
    invt_no TEXT NOT NULL, line INTEGER NOT NULL, decl_seq_no TEXT NOT NULL, declared_line INTEGER NOT NULL, PRIMARY KEY (invt_no, line)
);
-- Results of declarations (CEB792) to be given later.
CREATE TABLE IF NOT EXISTS summary_due (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, origin TEXT NOT NULL, twice INTEGER NOT NULL, notice BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS summary_due_at ON summary_due (at);
-- Lists whose request was refused as too frequent (701009) once.
CREATE TABLE IF NOT EXISTS summary_wait (invt_no TEXT PRIMARY KEY) WITHOUT ROWID;
