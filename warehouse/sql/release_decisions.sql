-- Every decision about a run, in order.
SELECT decision, decided_by, reason, decided_at
FROM release_decisions
WHERE run_id = $run_id
ORDER BY decided_at
