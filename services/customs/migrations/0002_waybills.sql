-- Waybills that were corrected, and which order holds the number of a waybill.

CREATE TABLE later_waybill (
    id        bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id  uuid        NOT NULL,
    doc       bytea       STORAGE EXTERNAL NOT NULL,
    came_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX later_waybill_order ON later_waybill (order_id);
COMMENT ON TABLE later_waybill IS 'Append only: waybills that came after the first of their order and before its list was lodged, the newest of which is in force.';

CREATE TABLE waybill_number (
    logistics_code text NOT NULL,
    logistics_no   text NOT NULL,
    order_id       uuid NOT NULL,
    PRIMARY KEY (logistics_code, logistics_no)
);
COMMENT ON TABLE waybill_number IS 'The order whose list has or will have this waybill, from its match on. Another order may take the number only when that order is over.';

-- The orders that are under way already. Two of them may have one number: the first keeps it.
INSERT INTO waybill_number (logistics_code, logistics_no, order_id)
SELECT w.doc ->> 'logistics_code', w.doc ->> 'logistics_no', w.order_id
FROM (SELECT d.order_id, convert_from(p.doc, 'UTF8')::jsonb AS doc
      FROM declaration d JOIN document p USING (order_id)
      WHERE p.kind = 'waybill' AND d.state IN ('matched', 'lodged', 'accepted', 'review', 'examination', 'held', 'released', 'withdrawing')
      ORDER BY d.created_at) AS w
ON CONFLICT DO NOTHING;
