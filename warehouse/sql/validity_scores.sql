-- Validity responses that a run has scored: the known score, tonight's, and that of the last run
-- before it that scored the same item and trait. scale is the position in ratings_scales.
WITH tonight AS (
    SELECT * FROM validity_scores WHERE run_id = $run_id
),
earlier AS (
    SELECT v.*
    FROM validity_scores v
    WHERE v.run_id <> $run_id AND v.scored_at < (SELECT min(scored_at) FROM tonight)
),
last_night AS (
    SELECT item_id, trait, arg_max(run_id, scored_at) AS run_id
    FROM earlier
    GROUP BY item_id, trait
),
before AS (
    SELECT e.*
    FROM earlier e
    JOIN last_night l ON l.run_id = e.run_id AND l.item_id = e.item_id AND l.trait = e.trait
),
numbered AS (
    SELECT item_id, trait, row_number() OVER (ORDER BY item_id, trait) - 1 AS scale FROM items
)
SELECT CAST(numbered.scale AS INTEGER) AS scale,
       h.human_score AS known,
       t.score,
       b.score AS before,
       coalesce(t.adapter_sha256 = b.adapter_sha256, true) AS same_adapter
FROM tonight t
JOIN numbered ON numbered.item_id = t.item_id AND numbered.trait = t.trait
JOIN human_scores h ON h.response_id = t.response_id AND h.trait = t.trait AND h.rater = 1
LEFT JOIN before b ON b.response_id = t.response_id AND b.trait = t.trait
ORDER BY numbered.scale, t.response_id
