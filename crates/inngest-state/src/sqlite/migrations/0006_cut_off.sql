-- Steps that had a job when their run ended: what the job told of them. Most runs leave none.
CREATE TABLE cut_off (
    run_id    BLOB    NOT NULL,
    job_key   INTEGER NOT NULL,
    kind      INTEGER NOT NULL,
    step_id   TEXT    NOT NULL,
    step_name TEXT    NOT NULL,
    queued_at INTEGER NOT NULL,
    called_at INTEGER,          -- when the call began that was in flight
    attempt   INTEGER NOT NULL,
    PRIMARY KEY (run_id, job_key)
) STRICT, WITHOUT ROWID;
