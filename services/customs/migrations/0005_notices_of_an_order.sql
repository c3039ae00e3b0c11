-- An order shows the receipts about its documents that others lodge, by the numbers that these name them by.
CREATE INDEX notice_numbers ON notice USING gin (numbers jsonb_path_ops);
