-- What becomes of each row: accepted, rated, or the reason it goes to rejects.
CREATE OR REPLACE TEMP TABLE outcomes AS
WITH refused AS (
    SELECT DISTINCT row FROM rated WHERE conflict
),
brought AS (
    SELECT DISTINCT row FROM new_scores
),
sound AS (
    SELECT m.row, m.known,
           row_number() OVER (PARTITION BY m.response_id ORDER BY m.row) = 1 AS first
    FROM matched m
    WHERE m.conflict IS NULL AND m.row NOT IN (SELECT row FROM refused)
)
SELECT c.row,
       c.found,
       CASE
           WHEN c.reason IS NOT NULL THEN c.reason
           WHEN m.conflict IS NOT NULL THEN m.conflict
           WHEN sound.row IS NULL THEN 'human_score_conflict'
           WHEN NOT sound.known AND sound.first THEN 'accepted'
           WHEN brought.row IS NOT NULL THEN 'rated'
           ELSE 'duplicate'
       END AS outcome
FROM checked c
LEFT JOIN matched m ON m.row = c.row
LEFT JOIN sound ON sound.row = c.row
LEFT JOIN brought ON brought.row = c.row
