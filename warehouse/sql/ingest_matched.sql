-- Sound rows beside the first that had the same response id, in the warehouse or in this export, and
-- in what they conflict with it; null where they do not.
CREATE OR REPLACE TEMP TABLE matched AS
WITH firsts AS (
    SELECT c.row,
           c.response_id,
           c.item_id,
           c.text_sha256,
           r.response_id IS NOT NULL AS known,
           coalesce(r.item_id, first_value(c.item_id) OVER same_id) AS first_item_id,
           coalesce(r.text_sha256, first_value(c.text_sha256) OVER same_id) AS first_text_sha256,
           r.purpose <> $purpose AS other_purpose
    FROM checked c
    LEFT JOIN responses r ON r.response_id = c.response_id
    WHERE c.reason IS NULL
    WINDOW same_id AS (PARTITION BY c.response_id ORDER BY c.row)
)
SELECT row, response_id, item_id, known,
       CASE
           WHEN item_id <> first_item_id OR text_sha256 <> first_text_sha256 THEN 'response_conflict'
           WHEN other_purpose THEN 'purpose_conflict'
       END AS conflict
FROM firsts
