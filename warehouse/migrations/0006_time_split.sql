-- Where the time of a run went: seconds by stage, of the process that brought it to its end, such as
-- {"plan": 1.2, "score": 98.1, "commit": 0.9, "model": 95.0, "total": 104.3}. model is a part of
-- score; total has what belongs to no stage, too. Null in runs from before this migration.
ALTER TABLE runs ADD COLUMN stage_seconds JSON;
