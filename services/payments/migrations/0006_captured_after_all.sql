-- A capture that the bank declined and did all the same is booked by a person's word, and goes back.

ALTER TABLE payment DROP CONSTRAINT payment_state_check;
ALTER TABLE payment ADD CONSTRAINT payment_state_check CHECK (state IN (
    'authorising', 'authorised', 'captured', 'settled', 'returning', 'declined', 'voiding', 'voided', 'refunding', 'refunded',
    'giving_back')) NOT VALID;
ALTER TABLE payment VALIDATE CONSTRAINT payment_state_check;

ALTER TABLE bank_attempt DROP CONSTRAINT bank_attempt_state_check;
ALTER TABLE bank_attempt ADD CONSTRAINT bank_attempt_state_check CHECK (state IN (
    'open', 'refused', 'answered', 'done', 'not_done', 'written_off', 'captured')) NOT VALID;
ALTER TABLE bank_attempt VALIDATE CONSTRAINT bank_attempt_state_check;
ALTER TABLE bank_attempt ADD COLUMN currency text CHECK (length(currency) = 3);
COMMENT ON COLUMN bank_attempt.currency IS 'Of the amount in minor, where the instruction itself names none.';
COMMENT ON COLUMN bank_attempt.state IS 'refused: by the bank, for good; done, not_done, written_off: by a person''s word; captured: by a person''s word on a void, of a capture that the bank had declined.';
