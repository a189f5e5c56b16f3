-- A run that was killed and that no later run takes up.
UPDATE runs
SET status = 'failed',
    finished_at = $finished_at,
    message = 'stopped before its end: it committed no score, and what it ingested waits for the next run'
WHERE run_id = $run_id
