-- What a run scored or coded, or ($run_id is null) what counts now, or, where $adapters_of names a
-- run, what the adapters that it used have scored in it and in released runs; beside human scores.
-- scale is the position in ratings_scales; the rows of one lie together, in the order of response,
-- a number that stands for the response. student is a hash that stands for the student, -1 where
-- there is none.
WITH chosen AS (
    SELECT * FROM scores WHERE run_id = $run_id
    UNION ALL
    SELECT scores.*
    FROM scores JOIN current_scores USING (response_id, trait, run_id)
    WHERE $run_id IS NULL AND $adapters_of IS NULL
    UNION ALL
    SELECT scores.*
    FROM scores
    WHERE $adapters_of IS NOT NULL
      AND (
          run_id = $adapters_of
          OR run_id IN (SELECT run_id FROM latest_decisions WHERE decision = 'released')
      )
      AND EXISTS (
          SELECT 1 FROM scores AS used
          WHERE used.run_id = $adapters_of
            AND used.item_id = scores.item_id AND used.trait = scores.trait
            AND used.adapter_sha256 = scores.adapter_sha256
      )
    QUALIFY row_number() OVER (
        PARTITION BY response_id, trait ORDER BY scored_at DESC, adapter_version DESC, run_id DESC
    ) = 1
),
human AS (
    SELECT response_id, trait,
           max(human_score) FILTER (rater = 1) AS human_score,
           max(human_score) FILTER (rater = 2) AS human_score_2
    FROM human_scores
    GROUP BY response_id, trait
),
numbered AS (
    SELECT item_id, trait, row_number() OVER (ORDER BY item_id, trait) - 1 AS scale FROM items
)
SELECT CAST(numbered.scale AS INTEGER) AS scale,
       responses.rowid AS response,
       chosen.status = 'scored' AS scored,
       chosen.reused_from IS NOT NULL AS reused,
       EXISTS (
           SELECT 1 FROM training_rows AS t
           WHERE t.adapter_sha256 = chosen.adapter_sha256
             AND t.response_id = chosen.response_id AND t.trait = chosen.trait
       ) AS seen,
       chosen.raw_score, chosen.trimmed_score, chosen.score, chosen.confidence,
       CASE coalesce(chosen.reported, '') WHEN 'rounded' THEN 1 WHEN 'scaled' THEN 2 ELSE 0 END
           AS reported,
       chosen.truncated, chosen.by_student, chosen.adapter_version, chosen.latency_ms,
       human.human_score, human.human_score_2,
       CASE WHEN responses.student_pseudo IS NULL THEN -1
            ELSE CAST(hash(responses.student_pseudo) >> 1 AS BIGINT) END AS student,
       CAST(coalesce(responses.submitted_at, responses.ingested_at) AS DATE) AS day
FROM chosen
JOIN responses USING (response_id)
JOIN numbered ON numbered.item_id = chosen.item_id AND numbered.trait = chosen.trait
LEFT JOIN human ON human.response_id = chosen.response_id AND human.trait = chosen.trait
WHERE ($seasons IS NULL OR list_contains(CAST($seasons AS VARCHAR[]), responses.season))
  AND ($items IS NULL OR list_contains(CAST($items AS VARCHAR[]), chosen.item_id))
ORDER BY numbered.scale, response
