-- What is asked for with each proposal, and by who follows a trade, does not grow with all that ever
-- were.
CREATE INDEX trade_open_of ON trade (member) WHERE closed = 0;
CREATE INDEX trade_by_id ON trade (trade_id);

-- The stamp of the newest word on a subject that another seat must hear at once, 0: none.
ALTER TABLE told ADD COLUMN urgent_ms INTEGER NOT NULL DEFAULT 0;
UPDATE told SET urgent_ms = (
    SELECT changed_ms FROM subject AS s WHERE s.subject = told.subject
)
WHERE urgent = 1;
DROP INDEX told_urgent;
ALTER TABLE told DROP COLUMN urgent;
CREATE INDEX told_urgent ON told (village) WHERE urgent_ms > 0;
