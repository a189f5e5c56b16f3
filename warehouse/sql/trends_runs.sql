-- Runs whose scores are committed, with what was decided about them; with $until only this run and
-- those before it.
SELECT r.run_id, r.kind, coalesce(d.decision, '') AS decision
FROM runs r
LEFT JOIN latest_decisions d ON d.run_id = r.run_id
LEFT JOIN runs last ON last.run_id = $until
WHERE r.kind IN ('nightly', 'backfill')
  AND r.status IN ('done', 'held', 'released')
  AND (
      $until IS NULL
      OR (r.administration_date, r.started_at, r.run_id)
         <= (last.administration_date, last.started_at, last.run_id)
  )
ORDER BY r.administration_date, r.started_at, r.run_id
