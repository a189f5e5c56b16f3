-- The exports that a run took in.
SELECT file, export_sha256, received, accepted, rejected, duplicate, rated
FROM exports
WHERE run_id = $run_id
ORDER BY file, export_sha256
