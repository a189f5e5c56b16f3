-- One hash of all texts that a run scored (current scores, where $run_id is null) with their human
-- scores: the hash of each row's, in order of those.
WITH chosen AS (
    SELECT response_id, trait FROM scores WHERE run_id = $run_id
    UNION ALL
    SELECT response_id, trait FROM current_scores WHERE $run_id IS NULL
),
human AS (
    SELECT response_id, trait, string_agg(rater || '=' || human_score, ',' ORDER BY rater) AS given
    FROM human_scores
    GROUP BY response_id, trait
)
SELECT sha256(string_agg(row_sha256, '' ORDER BY row_sha256)) AS sha256
FROM (
    SELECT sha256(concat_ws(chr(31), r.response_id, r.item_id, c.trait, r.text_sha256, h.given))
        AS row_sha256
    FROM chosen c
    JOIN responses r ON r.response_id = c.response_id
    LEFT JOIN human h ON h.response_id = c.response_id AND h.trait = c.trait
)
