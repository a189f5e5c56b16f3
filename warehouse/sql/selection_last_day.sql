-- The last administration day of the responses that a selection holds.
SELECT max(coalesce(submitted_at, ingested_at)::DATE) AS day
FROM responses
WHERE purpose = 'operational'
  AND ($seasons IS NULL OR list_contains($seasons, season))
  AND ($items IS NULL OR list_contains($items, item_id))
  AND ($from_date IS NULL OR coalesce(submitted_at, ingested_at)::DATE >= $from_date)
  AND ($to_date IS NULL OR coalesce(submitted_at, ingested_at)::DATE <= $to_date)
