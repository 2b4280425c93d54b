-- What comes after a trade with another village is settled.

-- Each log's word that goods of a trade were delivered, or are disputed.
CREATE TABLE delivery (
    subject BLOB NOT NULL CHECK (length(subject) = 32),
    log     INTEGER NOT NULL,
    idx     INTEGER NOT NULL,
    kind    TEXT NOT NULL CHECK (kind IN ('delivered', 'disputed')),
    asset   TEXT NOT NULL,
    PRIMARY KEY (subject, log, idx)
) STRICT, WITHOUT ROWID;

INSERT INTO delivery (subject, log, idx, kind, asset)
SELECT delivery_in(record, 'subject'), position >> 46, position & 1099511627775,
    delivery_in(record, 'kind'), delivery_in(record, 'asset')
FROM entry
WHERE (substr(record, 1, 20) = CAST('{"kind":"delivered",' AS BLOB)
    OR substr(record, 1, 19) = CAST('{"kind":"disputed",' AS BLOB))
    AND delivery_in(record, 'subject') IS NOT NULL;

ALTER TABLE trade ADD COLUMN refund_of BLOB; -- the subject of the trade that it gives back
UPDATE trade SET refund_of = refund_in(terms) WHERE refund_in(terms) IS NOT NULL;
CREATE INDEX trade_refund ON trade (refund_of) WHERE refund_of IS NOT NULL;

-- When the goods that came to this village count as delivered by themselves; NULL: not, or not any
-- more. For trades that were settled before there was such a day it is counted from the ledger's last
-- change.
ALTER TABLE trade ADD COLUMN deliver_minute INTEGER;
UPDATE trade SET deliver_minute = 43200 + (
    SELECT max(coalesce((SELECT max(stamp_ms) FROM movement), 0), max(changed_ms)) / 60000 FROM trade
)
WHERE status = 'SETTLED' AND refund_of IS NULL AND json_extract(
    CAST(terms AS TEXT), iif(role = 'from', '$.request.kind', '$.offer.kind')
) = 'resource';
CREATE INDEX trade_deliver ON trade (deliver_minute) WHERE deliver_minute IS NOT NULL;

-- The neighbour's log says something of its delivery on which nothing was done here yet.
ALTER TABLE trade ADD COLUMN heard INTEGER NOT NULL DEFAULT 0 CHECK (heard IN (0, 1));
UPDATE trade SET heard = 1 WHERE subject IN (SELECT subject FROM delivery);
CREATE INDEX trade_heard ON trade (neighbour) WHERE heard = 1;

-- What members write of a dispute: told to the other village, never in a log, and to be erased.
CREATE TABLE dispute (
    subject    BLOB NOT NULL REFERENCES trade (subject),
    village    TEXT NOT NULL,    -- of whoever wrote it
    text       TEXT NOT NULL,    -- empty: erased
    told       INTEGER NOT NULL CHECK (told IN (0, 1)), -- the other village has stored this
    PRIMARY KEY (subject, village)
) STRICT, WITHOUT ROWID;

CREATE INDEX dispute_untold ON dispute (subject) WHERE told = 0;
