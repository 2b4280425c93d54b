-- What councils of four seats and more decide, at each of their seats. A party has its own row in
-- `trade` besides. All of a subject but its state only grows.
CREATE TABLE subject (
    subject        BLOB PRIMARY KEY CHECK (length(subject) = 32),
    terms          BLOB NOT NULL,
    from_signature BLOB NOT NULL,
    to_signature   BLOB NOT NULL,
    opened_ms      INTEGER NOT NULL,
    state          TEXT NOT NULL,     -- of this seat; see core/council.State
    wakes_ms       INTEGER,           -- when time alone may move it; NULL: never
    unproven       INTEGER NOT NULL CHECK (unproven IN (0, 1)), -- this village's own statement
    parties        TEXT NOT NULL,     -- the two, by id, with a space between
    certificate    BLOB,              -- the decision
    changed_ms     INTEGER NOT NULL   -- the latest news of it
) STRICT;

CREATE INDEX subject_wakes ON subject (wakes_ms) WHERE wakes_ms IS NOT NULL;
CREATE INDEX subject_undecided ON subject (parties) WHERE certificate IS NULL;
CREATE INDEX subject_unproven ON subject (opened_ms) WHERE unproven = 1;

-- That a party's hold or no-hold is proven.
CREATE TABLE proof (
    subject   BLOB NOT NULL REFERENCES subject (subject),
    village   TEXT NOT NULL,
    statement TEXT NOT NULL CHECK (statement IN ('hold', 'no-hold')),
    evidence  BLOB NOT NULL,
    kept_ms   INTEGER NOT NULL,
    PRIMARY KEY (subject, village, statement)
) STRICT, WITHOUT ROWID;

CREATE TABLE absence (
    subject   BLOB NOT NULL REFERENCES subject (subject),
    village   TEXT NOT NULL, -- the seat that says so
    about     TEXT NOT NULL, -- the party
    signature BLOB NOT NULL,
    kept_ms   INTEGER NOT NULL,
    PRIMARY KEY (subject, village, about)
) STRICT, WITHOUT ROWID;

CREATE TABLE proposal (
    subject     BLOB NOT NULL REFERENCES subject (subject),
    round       INTEGER NOT NULL,
    village     TEXT NOT NULL,
    value       TEXT NOT NULL,
    valid_round INTEGER NOT NULL,
    signature   BLOB NOT NULL,
    kept_ms     INTEGER NOT NULL,
    PRIMARY KEY (subject, round)
) STRICT, WITHOUT ROWID;

CREATE TABLE ballot (
    subject   BLOB NOT NULL REFERENCES subject (subject),
    round     INTEGER NOT NULL,
    step      TEXT NOT NULL CHECK (step IN ('prevote', 'precommit')),
    village   TEXT NOT NULL,
    value     TEXT NOT NULL, -- empty: for no value
    signature BLOB NOT NULL,
    kept_ms   INTEGER NOT NULL,
    PRIMARY KEY (subject, round, step, village, value) -- a liar may have several, and all count
) STRICT, WITHOUT ROWID;

-- A seat's two words where it may only have one: signed, so that anyone can check it.
CREATE TABLE misbehaviour (
    subject BLOB NOT NULL REFERENCES subject (subject),
    village TEXT NOT NULL,
    first   BLOB NOT NULL,
    second  BLOB NOT NULL,
    kept_ms INTEGER NOT NULL,
    PRIMARY KEY (subject, village)
) STRICT, WITHOUT ROWID;

-- How much of a subject each other seat has: all that was kept here up to a stamp.
CREATE TABLE told (
    village TEXT NOT NULL,
    subject BLOB NOT NULL REFERENCES subject (subject),
    told_ms INTEGER NOT NULL DEFAULT 0,
    reached INTEGER NOT NULL DEFAULT -1, -- the highest round of which it has signed anything
    due     INTEGER NOT NULL DEFAULT 0 CHECK (due IN (0, 1)), -- it lacks something
    urgent  INTEGER NOT NULL DEFAULT 0 CHECK (urgent IN (0, 1)), -- and that does not wait
    asks    INTEGER NOT NULL DEFAULT 0 CHECK (asks IN (0, 1)), -- it is to say everything again
    PRIMARY KEY (village, subject)
) STRICT, WITHOUT ROWID;

CREATE INDEX told_due ON told (village, subject) WHERE due = 1;
CREATE INDEX told_urgent ON told (village) WHERE urgent = 1;
CREATE INDEX told_subject ON told (subject);

CREATE TRIGGER ballot_kept BEFORE DELETE ON ballot BEGIN SELECT RAISE(ABORT, 'votes are kept'); END;
CREATE TRIGGER ballot_fixed BEFORE UPDATE ON ballot BEGIN SELECT RAISE(ABORT, 'votes are kept'); END;
CREATE TRIGGER proposal_kept BEFORE DELETE ON proposal BEGIN SELECT RAISE(ABORT, 'proposals are kept'); END;
CREATE TRIGGER proposal_fixed BEFORE UPDATE ON proposal BEGIN SELECT RAISE(ABORT, 'proposals are kept'); END;
