CREATE TABLE person_key (
    person_ref  uuid        PRIMARY KEY,
    wrapped_key bytea       NOT NULL,
    made_at     timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE person_key IS 'One AES-256 key per person, wrapped by the master key. Deleting a row makes everything sealed under it unreadable, in log, tables and backups.';
