-- Keep whose scores they are that a run would replace (compared: made by comparison_pairs).
INSERT INTO comparison_runs
SELECT $run_id, old_run_id, replaces <> 'unreleased', count(*)
FROM compared
WHERE old_run_id IS NOT NULL
GROUP BY ALL
