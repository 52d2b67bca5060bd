-- Headers of replies, each set once. The key is a hash of the text.
CREATE TABLE headers (
    hash INTEGER NOT NULL PRIMARY KEY,
    json BLOB    NOT NULL -- object: name to value, or to the list of values
) STRICT;

-- The reply that reported a step, the job that gave it, and what the step was resolved with (a tag byte and an id).
ALTER TABLE steps ADD COLUMN job_key INTEGER NOT NULL DEFAULT 0;
ALTER TABLE steps ADD COLUMN resolution BLOB;
ALTER TABLE steps ADD COLUMN status INTEGER;
ALTER TABLE steps ADD COLUMN headers INTEGER;

ALTER TABLE attempts ADD COLUMN queued_at INTEGER NOT NULL DEFAULT 0;
UPDATE attempts SET queued_at = started_at;
ALTER TABLE attempts ADD COLUMN headers INTEGER;

-- The call with which a run ended, and the event that told of the end.
ALTER TABLE runs ADD COLUMN last_job INTEGER;
ALTER TABLE runs ADD COLUMN last_queued_at INTEGER;
ALTER TABLE runs ADD COLUMN last_started_at INTEGER;
ALTER TABLE runs ADD COLUMN last_attempt INTEGER;
ALTER TABLE runs ADD COLUMN last_status INTEGER;
ALTER TABLE runs ADD COLUMN last_headers INTEGER;
ALTER TABLE runs ADD COLUMN finished_event BLOB;

-- The event that starts a deferred run.
ALTER TABLE defers ADD COLUMN event_id BLOB;

-- Notes may be about one attempt of a step, or about a span.
ALTER TABLE metadata ADD COLUMN attempt INTEGER;
ALTER TABLE metadata ADD COLUMN span BLOB;

-- What steps are about that have more to tell than their kind: written when they are first reported.
CREATE TABLE details (
    run_id  BLOB NOT NULL,
    step_id TEXT NOT NULL,
    detail  BLOB NOT NULL, -- JSON object
    PRIMARY KEY (run_id, step_id)
) STRICT, WITHOUT ROWID;

-- Spans of the user's own code. Times are nanoseconds since 1970.
CREATE TABLE user_spans (
    run_id     BLOB    NOT NULL,
    id         BLOB    NOT NULL,
    parent     BLOB,
    step_id    TEXT,
    attempt    INTEGER,
    name       TEXT    NOT NULL,
    started_ns INTEGER NOT NULL,
    ended_ns   INTEGER NOT NULL,
    failed     INTEGER NOT NULL,
    content    BLOB    NOT NULL, -- JSON object
    PRIMARY KEY (run_id, id)
) STRICT, WITHOUT ROWID;
