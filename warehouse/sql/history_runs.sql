-- Released runs before a run: of an earlier administration date, or of the same one and begun earlier.
SELECT r.run_id, r.kind
FROM runs r
JOIN latest_decisions d ON d.run_id = r.run_id
JOIN runs this ON this.run_id = $run_id
WHERE d.decision = 'released'
  AND r.kind IN ('nightly', 'backfill')
  AND (r.administration_date, r.started_at, r.run_id)
      < (this.administration_date, this.started_at, this.run_id)
ORDER BY r.administration_date, r.started_at, r.run_id
