-- What is wrong with each row by itself, null where nothing is. A validity response ($validity)
-- needs its known score, the first rater's.
CREATE OR REPLACE TEMP TABLE checked AS
WITH off AS (
    SELECT row,
           bool_or(score_min IS NULL) AS unknown_trait,
           any_value(
               printf('%g on a scale of %d to %d', human_score, score_min, score_max)
           ) FILTER (human_score NOT BETWEEN score_min AND score_max) AS off_scale
    FROM ratings
    WHERE score_min IS NULL OR human_score NOT BETWEEN score_min AND score_max
    GROUP BY row
)
SELECT s.row,
       s.response_id,
       s.item_id,
       s.text_sha256,
       coalesce(s.found, off.off_scale) AS found,
       CASE
           WHEN s.fault IS NOT NULL THEN s.fault
           WHEN sha256(s.student_pseudo) IN (SELECT pseudo_sha256 FROM erasures)
               OR sha256(s.response_id || chr(31) || s.text_sha256)
                  IN (SELECT row_sha256 FROM erased_responses)
               THEN 'erased'
           WHEN s.item_id NOT IN (SELECT item_id FROM items) THEN 'unknown_item'
           WHEN off.unknown_trait OR (s.trait IS NOT NULL AND i.trait IS NULL) THEN 'unknown_trait'
           WHEN off.off_scale IS NOT NULL THEN 'score_off_scale'
           WHEN $validity AND s.row NOT IN (SELECT row FROM ratings WHERE rater = 1)
               THEN 'no_known_score'
       END AS reason
FROM staged s
LEFT JOIN items i ON i.item_id = s.item_id AND i.trait = s.trait
LEFT JOIN off ON off.row = s.row
