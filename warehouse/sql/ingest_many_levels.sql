-- Attributes with more than $most levels among the accepted rows.
SELECT g.attribute, count(DISTINCT g.level) AS levels
FROM read_parquet($subgroups) g
JOIN outcomes o ON o.row = g.row
WHERE o.outcome = 'accepted'
GROUP BY g.attribute
HAVING count(DISTINCT g.level) > $most
ORDER BY g.attribute
