-- The seasons of what a run has scored or coded.
SELECT DISTINCT r.season
FROM scores s
JOIN responses r ON r.response_id = s.response_id
WHERE s.run_id = $run_id
ORDER BY r.season
