-- The subgroups of the responses in ratings_scores. level is the position in ratings_levels.
WITH levels AS (
    SELECT attribute, level, row_number() OVER (ORDER BY attribute, level) - 1 AS position
    FROM (SELECT DISTINCT attribute, level FROM subgroups)
)
SELECT r.rowid AS response, levels.position AS level
FROM subgroups g
JOIN levels ON levels.attribute = g.attribute AND levels.level = g.level
JOIN responses r ON r.response_id = g.response_id
WHERE ($run_id IS NULL OR r.response_id IN (SELECT response_id FROM scores WHERE run_id = $run_id))
  AND ($seasons IS NULL OR list_contains(CAST($seasons AS VARCHAR[]), r.season))
  AND ($items IS NULL OR list_contains(CAST($items AS VARCHAR[]), r.item_id))
ORDER BY response
