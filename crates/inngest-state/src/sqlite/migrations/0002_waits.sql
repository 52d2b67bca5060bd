-- What a job that waits was resolved with: a tag byte, then an event id, a run id or the value itself.
ALTER TABLE jobs ADD COLUMN resolution BLOB;

-- The run whose events this one runs anew, and the arguments given for one of its steps.
ALTER TABLE runs ADD COLUMN original_run BLOB;
ALTER TABLE runs ADD COLUMN input_step TEXT;
ALTER TABLE runs ADD COLUMN input BLOB;

-- Steps and runs that wait for an event of a name.
CREATE TABLE waits (
    run_id      BLOB    NOT NULL,
    key         INTEGER NOT NULL, -- of the job that is resumed
    function_id BLOB    NOT NULL,
    event       TEXT    NOT NULL,
    expression  TEXT,
    bindings    TEXT,             -- JSON array
    until       INTEGER NOT NULL,
    effect      INTEGER NOT NULL, -- 1 resumes the job, 2 cancels the run
    PRIMARY KEY (run_id, key)
) STRICT, WITHOUT ROWID;

-- How an event finds them: one of the tests of a wait must hold for it. Numbers are REAL, texts TEXT, booleans
-- one-byte BLOBs, so that values of one type are neighbours.
CREATE TABLE wait_tests (
    event  TEXT    NOT NULL,
    path   TEXT    NOT NULL, -- JSON pointer
    test   INTEGER NOT NULL,
    value  ANY     NOT NULL,
    run_id BLOB    NOT NULL,
    key    INTEGER NOT NULL,
    PRIMARY KEY (event, path, test, value, run_id, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX wait_tests_of_run ON wait_tests (run_id, key);

CREATE TABLE signals (
    name   TEXT    NOT NULL PRIMARY KEY,
    run_id BLOB    NOT NULL,
    key    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX signals_of_run ON signals (run_id, key);

CREATE TABLE defers (
    run_id      BLOB    NOT NULL,
    id          TEXT    NOT NULL,
    seq         INTEGER NOT NULL,
    function    TEXT    NOT NULL,
    input       BLOB    NOT NULL,
    meta        BLOB,
    status      INTEGER NOT NULL, -- 1 starts after the run, 2 aborted, 3 rejected
    PRIMARY KEY (run_id, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE metadata (
    run_id  BLOB    NOT NULL,
    seq     INTEGER NOT NULL,
    step_id TEXT,
    scope   TEXT    NOT NULL,
    kind    TEXT    NOT NULL,
    op      TEXT    NOT NULL,
    "values" BLOB   NOT NULL,
    at      INTEGER NOT NULL,
    PRIMARY KEY (run_id, seq)
) STRICT, WITHOUT ROWID;

-- The last time each schedule has fired for.
CREATE TABLE ticks (
    function_id BLOB    NOT NULL,
    schedule    TEXT    NOT NULL,
    at          INTEGER NOT NULL,
    PRIMARY KEY (function_id, schedule)
) STRICT, WITHOUT ROWID;

CREATE TABLE cancellations (
    id             TEXT    NOT NULL PRIMARY KEY,
    function_id    BLOB    NOT NULL,
    started_after  INTEGER,
    started_before INTEGER NOT NULL,
    condition      TEXT,
    created_at     INTEGER NOT NULL,
    cursor         BLOB,             -- runs up to this one have been looked at
    done_at        INTEGER
) STRICT, WITHOUT ROWID;
