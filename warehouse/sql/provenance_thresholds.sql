-- The limits that a run was judged by.
SELECT CAST(t.content AS VARCHAR) AS content
FROM runs r
JOIN threshold_versions t ON t.sha256 = r.thresholds_sha256
WHERE r.run_id = $run_id
