-- Human scores to record. A row with one score in conflict is refused with all its scores, so a
-- later row may be the one that brings them.
CREATE OR REPLACE TEMP TABLE new_scores AS
SELECT row, response_id, item_id, trait, rater, human_score
FROM rated
WHERE NOT recorded
  AND NOT EXISTS (SELECT 1 FROM rated AS other WHERE other.row = rated.row AND other.conflict)
QUALIFY row_number() OVER (PARTITION BY response_id, trait, rater ORDER BY row) = 1
