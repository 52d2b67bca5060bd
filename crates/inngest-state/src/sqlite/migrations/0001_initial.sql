-- One row per thing; a run is updated in place, everything else is written once.
-- Ids are 16-byte ULIDs or UUIDs, times are milliseconds since 1970, payloads are canonical JSON.

CREATE TABLE apps (
    id          BLOB    NOT NULL PRIMARY KEY,
    name        TEXT    NOT NULL, -- empty: a placeholder for a URL that has not answered yet
    url         TEXT    NOT NULL,
    sdk_language TEXT   NOT NULL,
    sdk_version TEXT    NOT NULL,
    framework   TEXT    NOT NULL,
    app_version TEXT,
    error       TEXT,
    checksum    TEXT    NOT NULL,
    created_at  INTEGER NOT NULL,
    archived_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE functions (
    id          BLOB    NOT NULL PRIMARY KEY,
    app_id      BLOB    NOT NULL,
    slug        TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    triggers    TEXT    NOT NULL, -- JSON array
    url         TEXT    NOT NULL,
    step_id     TEXT    NOT NULL,
    retries     INTEGER NOT NULL,
    version     INTEGER NOT NULL,
    config      BLOB    NOT NULL,
    created_at  INTEGER NOT NULL,
    archived_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
    id          BLOB    NOT NULL PRIMARY KEY,
    name        TEXT    NOT NULL,
    external_id TEXT,
    ts          INTEGER NOT NULL,
    runs        BLOB,             -- ids of the runs it started, concatenated
    about_run   BLOB,             -- lifecycle events: the run that `body` is derived from
    body        BLOB              -- the event object as SDKs receive it
) STRICT, WITHOUT ROWID;

CREATE TABLE runs (
    id             BLOB    NOT NULL PRIMARY KEY,
    function_id    BLOB    NOT NULL,
    status         INTEGER NOT NULL,
    event_ids      BLOB    NOT NULL, -- ids of the events that started it, concatenated
    event_name     TEXT    NOT NULL, -- name of the first of them
    correlation_id TEXT,
    started_at     INTEGER,
    ended_at       INTEGER,
    output         BLOB,
    error          BLOB
) STRICT, WITHOUT ROWID;

CREATE TABLE steps (
    run_id     BLOB    NOT NULL,
    step_id    TEXT    NOT NULL,
    seq        INTEGER NOT NULL, -- grows with every recorded step: the order of the stack
    op         INTEGER NOT NULL,
    name       TEXT    NOT NULL,
    failed     INTEGER NOT NULL,
    attempt    INTEGER NOT NULL,
    queued_at  INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at   INTEGER NOT NULL,
    input      BLOB,
    value      BLOB    NOT NULL,
    PRIMARY KEY (run_id, step_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE attempts (
    run_id     BLOB    NOT NULL,
    job_key    INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    step_id    TEXT,
    step_name  TEXT,
    attempt    INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at   INTEGER NOT NULL,
    status     INTEGER,
    error      BLOB    NOT NULL,
    retry_at   INTEGER,
    PRIMARY KEY (run_id, job_key, generation)
) STRICT, WITHOUT ROWID;

CREATE TABLE jobs (
    run_id        BLOB    NOT NULL,
    key           INTEGER NOT NULL,
    function_id   BLOB    NOT NULL,
    kind          INTEGER NOT NULL,
    step_id       TEXT,
    step_name     TEXT,
    queued_at     INTEGER NOT NULL,
    due           INTEGER NOT NULL,
    priority      INTEGER NOT NULL,
    timer         INTEGER,          -- = due of a job made for later; NULL for one made for now
    attempt       INTEGER NOT NULL,
    generation    INTEGER NOT NULL,
    version       INTEGER NOT NULL,
    plan_only     INTEGER NOT NULL,
    stack_current INTEGER NOT NULL,
    plan_group    INTEGER,
    PRIMARY KEY (run_id, key)
) STRICT, WITHOUT ROWID;

-- Only jobs made for later are indexed: the jobs of a run that moves on are made and removed without it.
CREATE INDEX jobs_timer ON jobs (timer) WHERE timer IS NOT NULL;

CREATE TABLE idempotency (
    function_id BLOB    NOT NULL,
    key         TEXT    NOT NULL,
    expires_at  INTEGER NOT NULL,
    PRIMARY KEY (function_id, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_expiry ON idempotency (expires_at);
