-- The last retirement of a season, finished or not.
SELECT begun_at, finished_at, responses FROM retirements
WHERE season = $season
ORDER BY begun_at DESC
LIMIT 1
