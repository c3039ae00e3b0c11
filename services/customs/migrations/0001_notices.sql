CREATE TABLE notice (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_type text        NOT NULL,
    status       text        NOT NULL,
    code         text,
    numbers      jsonb       NOT NULL,
    at           timestamptz NOT NULL
);
COMMENT ON TABLE notice IS 'Append only: receipts about documents that others lodge (orders, payments, waybills, arrivals, deliveries), by the numbers they name these by. Nothing follows from them.';

-- A receipt under a foreign copNo finds its list by the number that the e-port gave it.
CREATE INDEX declaration_pre_no ON declaration (pre_no) WHERE pre_no IS NOT NULL;
