-- A platform or carrier that has a key here is bound: a record that speaks for it counts only with its signature.
CREATE TABLE party_key (
    code       text        NOT NULL CHECK (code <> ''),
    public_key bytea       NOT NULL CHECK (octet_length(public_key) = 32),
    added_at   timestamptz NOT NULL DEFAULT now(),
    added_by   text        NOT NULL,
    removed_at timestamptz,
    removed_by text,
    PRIMARY KEY (code, public_key)
);
COMMENT ON TABLE party_key IS 'Ed25519 public keys of the outside parties that sign what they say: platforms for orders, carriers for customs. A removed key stays as a row and counts no more.';
