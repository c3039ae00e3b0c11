CREATE TABLE known_topic (
    topic text PRIMARY KEY,
    topic_id uuid NOT NULL,
    since timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE known_topic IS
    'Which topic of that name the offsets in consumer_offset are of: one that is deleted and made anew has another id.';
