-- Runs whose scores are committed and which MLflow does not show, oldest first.
SELECT run_id
FROM runs
WHERE kind IN ('nightly', 'backfill') AND status IN ('done', 'held', 'released') AND mlflow_run_id IS NULL
ORDER BY started_at
