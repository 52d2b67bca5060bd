-- The keys by which a run is limited: for each, 8 bytes of expression and 16 of value.
ALTER TABLE jobs ADD COLUMN keys BLOB;

-- Whether the call of the job starts its run.
ALTER TABLE jobs ADD COLUMN starts INTEGER NOT NULL DEFAULT 0;
UPDATE jobs SET starts = 1 WHERE kind = 1 AND attempt = 0;

-- Why a run never started, and the run that was in its way; how its events were gathered (1 debounce, 2 batch).
ALTER TABLE runs ADD COLUMN skip INTEGER;
ALTER TABLE runs ADD COLUMN skip_run BLOB;
ALTER TABLE runs ADD COLUMN gathering INTEGER;

CREATE INDEX runs_skipped ON runs (id) WHERE status = 7;

-- What limits in time count: theoretical arrival times in nanoseconds since 1970.
CREATE TABLE tats (
    kind   INTEGER NOT NULL, -- 1 rate limits, 2 throttles
    bucket BLOB    NOT NULL,
    key    BLOB    NOT NULL,
    tat    INTEGER NOT NULL,
    PRIMARY KEY (kind, bucket, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX tats_expiry ON tats (tat);

-- Debounces and batches whose runs have not started.
CREATE TABLE gatherings (
    id          BLOB    NOT NULL PRIMARY KEY, -- its job is that of this "run"
    function_id BLOB    NOT NULL,
    kind        INTEGER NOT NULL, -- 1 debounce, 2 batch
    key         BLOB    NOT NULL,
    first_at    INTEGER NOT NULL, -- when its first event was stored
    deadline    INTEGER NOT NULL,
    ts          INTEGER NOT NULL, -- of the event that starts the run of a debounce
    members     INTEGER NOT NULL, -- rows of `gathered`
    bytes       INTEGER NOT NULL, -- of the events of a batch
    keys        BLOB              -- by which the run is limited when its first event starts it
) STRICT, WITHOUT ROWID;

CREATE INDEX gatherings_of_key ON gatherings (function_id, kind, key, deadline);
CREATE INDEX gatherings_of_function ON gatherings (function_id, id);

-- Their events in order, and who waits for their runs. The event of a debounce is the first row.
CREATE TABLE gathered (
    gathering      BLOB    NOT NULL,
    seq            INTEGER NOT NULL,
    event_id       BLOB,
    correlation_id TEXT,
    PRIMARY KEY (gathering, seq)
) STRICT, WITHOUT ROWID;

CREATE INDEX gathered_of_event ON gathered (event_id) WHERE event_id IS NOT NULL;

-- The newest run of each singleton, until it ends.
CREATE TABLE singletons (
    function_id BLOB NOT NULL,
    key         BLOB NOT NULL,
    run_id      BLOB NOT NULL,
    PRIMARY KEY (function_id, key)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX singletons_of_run ON singletons (run_id);

-- Runs whose first job is due when another run has ended.
CREATE TABLE successors (
    run_id    BLOB    NOT NULL PRIMARY KEY,
    after_run BLOB    NOT NULL,
    key       INTEGER NOT NULL, -- of the job
    due       INTEGER NOT NULL  -- the job is not due before this time either
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX successors_of_run ON successors (after_run);

-- Events that started no run of a function that they matched.
CREATE TABLE skips (
    event_id     BLOB    NOT NULL,
    function_id  BLOB    NOT NULL,
    reason       INTEGER NOT NULL,
    existing_run BLOB, -- that was in the way
    run_id       BLOB, -- that shows it
    PRIMARY KEY (event_id, function_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX skips_of_function ON skips (function_id, event_id);

-- What an operator has stopped, and documents kept for operators.
CREATE TABLE holds (
    function_id BLOB    NOT NULL PRIMARY KEY,
    hold        INTEGER NOT NULL -- 1 makes no calls, 2 nor new runs, 3 no new runs only
) STRICT, WITHOUT ROWID;

CREATE TABLE documents (
    name TEXT NOT NULL PRIMARY KEY,
    body BLOB NOT NULL
) STRICT, WITHOUT ROWID;
