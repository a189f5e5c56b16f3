-- How many rows of each file a run refused or found to be repeats, by reason.
SELECT file, reason, count(*) AS refused
FROM rejects
WHERE run_id = $run_id
GROUP BY file, reason
ORDER BY file, refused DESC, reason
