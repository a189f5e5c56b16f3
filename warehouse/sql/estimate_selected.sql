-- How many scores a selection has room for, by item and trait.
SELECT r.item_id, i.trait, count(*) AS n
FROM responses r
JOIN items i ON i.item_id = r.item_id
WHERE r.purpose = 'operational'
  AND r.retired_at IS NULL
  AND ($seasons IS NULL OR list_contains($seasons, r.season))
  AND ($items IS NULL OR list_contains($items, r.item_id))
  AND ($from_date IS NULL OR coalesce(r.submitted_at, r.ingested_at)::DATE >= $from_date)
  AND ($to_date IS NULL OR coalesce(r.submitted_at, r.ingested_at)::DATE <= $to_date)
GROUP BY r.item_id, i.trait
ORDER BY r.item_id, i.trait
