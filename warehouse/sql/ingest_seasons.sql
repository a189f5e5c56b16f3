-- The seasons of the responses that an export brings.
SELECT DISTINCT s.season
FROM staged s
JOIN outcomes o ON o.row = s.row
WHERE o.outcome = 'accepted'
ORDER BY s.season
