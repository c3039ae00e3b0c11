-- Instructions are claimed by kind: those of a slow lane are passed over by the index alone.

CREATE INDEX effect_due_by_kind ON effect (next_at, kind);
DROP INDEX effect_due;
