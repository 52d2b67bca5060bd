-- What the lists of runs are read along. Rows are added at the end of each index, or of a function's part of it; those of
-- runs that failed, were cancelled, skipped or deferred have indexes of their own, which other runs do not pay for.
CREATE INDEX runs_of_function ON runs (function_id, id);
CREATE INDEX runs_started ON runs (started_at, id, function_id) WHERE started_at IS NOT NULL;
CREATE INDEX runs_ended ON runs (ended_at, id, function_id, status) WHERE ended_at IS NOT NULL;
CREATE INDEX runs_unusual ON runs (status, id, started_at, ended_at) WHERE status = 2 OR status = 3 OR status = 7;
CREATE INDEX runs_unusual_of_function ON runs (function_id, status, id, started_at, ended_at)
    WHERE status = 2 OR status = 3 OR status = 7;
CREATE INDEX runs_deferred ON runs (id, function_id) WHERE event_name = 'inngest/deferred.schedule';
DROP INDEX runs_skipped;

-- The one event that every run leaves is found without.
CREATE INDEX events_named ON events (name, id) WHERE name <> 'inngest/function.finished';

-- How many runs there are, by the hour and the day of each of their times: of day D since 1970, `bucket` is 25 * D + hour, or
-- 25 * D + 24 for the whole day. Kept by whoever writes a run, in the same transaction.
CREATE TABLE run_counts (
    bucket      INTEGER NOT NULL,
    time        INTEGER NOT NULL, -- 0 queued (the time of the run's id), 1 started, 2 ended
    function_id BLOB    NOT NULL,
    deferred    INTEGER NOT NULL,
    running     INTEGER NOT NULL,
    completed   INTEGER NOT NULL,
    failed      INTEGER NOT NULL,
    cancelled   INTEGER NOT NULL,
    scheduled   INTEGER NOT NULL,
    skipped     INTEGER NOT NULL,
    PRIMARY KEY (bucket, time, function_id, deferred)
) STRICT, WITHOUT ROWID;

-- How many events there are of a name; of the name '' all that are not the server's own, of 'inngest/' all that are.
CREATE TABLE event_counts (
    bucket INTEGER NOT NULL,
    name   TEXT    NOT NULL,
    events INTEGER NOT NULL,
    PRIMARY KEY (bucket, name)
) STRICT, WITHOUT ROWID;

-- By how much counts change that are not summed up yet: a row a batch. JSON: a list of `[hour, time, function, deferred, columns of
-- run_counts]`, the id of the function in halves, and a list of `[hour, name of events, number]`.
CREATE TABLE count_changes (
    id      INTEGER NOT NULL PRIMARY KEY,
    changes BLOB    NOT NULL
) STRICT;
