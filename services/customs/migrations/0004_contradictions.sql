-- A case shows both receipts of a contradiction, with the number that each gives the list.
ALTER TABLE receipt ADD COLUMN invt_no text;
COMMENT ON COLUMN receipt.invt_no IS 'The number of customs that the entry names the list by; none for receipts heard before 0004.';
