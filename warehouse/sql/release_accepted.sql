-- Per item and trait, the last run that a person released although one of $rules had failed for it.
SELECT g.item_id, g.trait, arg_max(g.run_id, r.started_at) AS run_id
FROM gate_results g
JOIN runs r ON r.run_id = g.run_id
JOIN latest_decisions d ON d.run_id = g.run_id
WHERE d.decision = 'released'
  AND d.decided_by <> 'gate'
  AND g.status = 'FAIL'
  AND list_contains(CAST($rules AS VARCHAR[]), g.rule)
  AND g.run_id <> $run_id
GROUP BY g.item_id, g.trait
