-- The responses of one season that an export brings, with their texts.
SELECT response_id, item_id, season, student_pseudo, submitted_at, text, text_sha256
FROM read_parquet($rows)
WHERE season = $season AND row IN (SELECT row FROM outcomes WHERE outcome = 'accepted')
ORDER BY item_id, response_id
