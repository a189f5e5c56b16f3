-- The limits that the run before this one was judged by.
SELECT t.content
FROM runs r
JOIN threshold_versions t ON t.sha256 = r.thresholds_sha256
JOIN runs this ON this.run_id = $run_id
WHERE (r.started_at, r.run_id) < (this.started_at, this.run_id)
ORDER BY r.started_at DESC, r.run_id DESC
LIMIT 1
