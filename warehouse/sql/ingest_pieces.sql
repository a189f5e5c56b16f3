-- Accepted rows divided into pieces of about $characters each. In the order of their numbers the
-- pieces go through the seasons, and in each through the items and response ids.
CREATE OR REPLACE TEMP TABLE pieces AS
WITH sized AS (
    SELECT s.row,
           s.season,
           sum(s.characters + 200) OVER (
               PARTITION BY s.season
               ORDER BY s.item_id, s.response_id
               ROWS UNBOUNDED PRECEDING
           ) // $characters AS part
    FROM staged s
    JOIN outcomes o ON o.row = s.row
    WHERE o.outcome = 'accepted'
)
SELECT row, season, CAST(dense_rank() OVER (ORDER BY season, part) - 1 AS INTEGER) AS piece
FROM sized
