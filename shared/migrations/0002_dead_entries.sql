-- One entry of a record may be given up by itself; 0 means the whole record.
ALTER TABLE dead_letter ADD COLUMN entry int NOT NULL DEFAULT 0 CHECK (entry >= 0);
ALTER TABLE dead_letter DROP CONSTRAINT dead_letter_pkey, ADD PRIMARY KEY (topic, part, at_offset, entry);
COMMENT ON COLUMN dead_letter.entry IS 'The number of the entry that was given up alone, from 1; 0: the whole record.';
