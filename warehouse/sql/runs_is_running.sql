-- Whether a run has begun and not ended.
SELECT status = 'running' AS running FROM runs WHERE run_id = $run_id
