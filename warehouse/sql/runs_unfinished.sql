-- Runs that have begun and not ended, newest first.
SELECT run_id, kind, administration_date, CAST(parameters AS VARCHAR) AS parameters
FROM runs
WHERE status = 'running'
ORDER BY started_at DESC
