-- The runs that are released now, but for the one that is compared with them.
SELECT run_id FROM latest_decisions WHERE decision = 'released' AND run_id <> $run_id ORDER BY run_id
