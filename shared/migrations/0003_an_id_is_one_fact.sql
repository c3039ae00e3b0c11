-- An id is one fact: what was heard or said under it is kept as a digest, so that other content under the same id is seen.

ALTER TABLE inbox ADD COLUMN digest bigint;
COMMENT ON COLUMN inbox.digest IS '64 bits of BLAKE2b over type and value; NULL where an earlier release handled the event.';

CREATE TABLE said (
    event_id  uuid        PRIMARY KEY,
    digest    bigint      NOT NULL,
    said_at   timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE said IS 'Append only: the facts this service said, by id and digest: no id is given to two facts. forget_inbox() forgets the old.';
CREATE INDEX said_said_at ON said USING brin (said_at);

CREATE OR REPLACE FUNCTION forget_inbox(older_than_days int) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE gone bigint;
BEGIN
    IF older_than_days < 15 THEN
        RAISE EXCEPTION 'keep the inbox for 15 days or more: % are fewer than the topics keep', older_than_days;
    END IF;
    DELETE FROM said WHERE said_at < now() - make_interval(days => older_than_days);
    DELETE FROM inbox WHERE seen_at < now() - make_interval(days => older_than_days);
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END $$;
