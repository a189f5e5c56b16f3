-- Every human score of the export with its trait and scale; no scale where the trait is unknown.
-- A row that names no trait means the item's only one, or `overall`.
CREATE OR REPLACE TEMP TABLE ratings AS
WITH lone AS (
    SELECT item_id, any_value(trait) AS trait FROM items GROUP BY item_id HAVING count(*) = 1
),
named AS (
    SELECT r.row,
           s.item_id,
           coalesce(r.trait, lone.trait, 'overall') AS trait,
           r.rater,
           r.human_score
    FROM read_parquet($ratings) r
    JOIN staged s ON s.row = r.row
    LEFT JOIN lone ON lone.item_id = s.item_id
)
SELECT n.row, n.trait, n.rater, n.human_score, i.score_min, i.score_max
FROM named n
LEFT JOIN items i ON i.item_id = n.item_id AND i.trait = n.trait
