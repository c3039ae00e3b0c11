-- An operator may give up an item that was set aside, with a note.
ALTER TABLE operator_request
    DROP CONSTRAINT operator_request_act_check,
    DROP CONSTRAINT operator_request_check,
    DROP CONSTRAINT operator_request_check1;
ALTER TABLE operator_request
    ADD CONSTRAINT operator_request_act_check CHECK (act IN ('replay', 'skip', 'drop', 'command', 'give_up')),
    ADD CONSTRAINT operator_request_note_check CHECK (act NOT IN ('skip', 'give_up') OR note <> ''),
    ADD CONSTRAINT operator_request_subject_check CHECK (
        act = 'skip' AND order_id IS NOT NULL OR act = 'command' AND record IS NOT NULL
        OR act = 'give_up' AND letter IS NOT NULL OR num_nulls(topic, part, at_offset) = 0
    );
COMMENT ON COLUMN operator_request.letter IS 'The dead letter, as it is listed; of an item given up, its source and subject.';
