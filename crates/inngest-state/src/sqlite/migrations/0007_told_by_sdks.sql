-- What an SDK told of its features when it registered.
ALTER TABLE apps ADD COLUMN feature_observations TEXT;

-- The id of a defer as the user wrote it; empty for those that were stored before.
ALTER TABLE defers ADD COLUMN name TEXT NOT NULL DEFAULT '';
