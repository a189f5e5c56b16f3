-- A run that was killed and that no later run takes up; what would have held it stays told.
UPDATE runs
SET status = 'failed',
    finished_at = $finished_at,
    message = concat_ws(
        ' | ',
        nullif(array_to_string(from_json(held_reasons, '["VARCHAR"]'), ' | '), ''),
        'stopped before its end: it committed no score, and what it ingested waits for the next run'
    )
WHERE run_id = $run_id
