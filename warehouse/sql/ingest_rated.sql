-- Human scores of rows that agree with their response, beside the first score that the same rater
-- gave it for the same trait, in the warehouse or in this export.
CREATE OR REPLACE TEMP TABLE rated AS
SELECT m.row,
       m.response_id,
       m.item_id,
       t.trait,
       t.rater,
       t.human_score,
       h.human_score IS NOT NULL AS recorded,
       t.human_score <> coalesce(h.human_score, first_value(t.human_score) OVER same_rating)
           AS conflict
FROM matched m
JOIN ratings t ON t.row = m.row
LEFT JOIN human_scores h
    ON h.response_id = m.response_id AND h.trait = t.trait AND h.rater = t.rater
WHERE m.conflict IS NULL
WINDOW same_rating AS (PARTITION BY m.response_id, t.trait, t.rater ORDER BY m.row)
