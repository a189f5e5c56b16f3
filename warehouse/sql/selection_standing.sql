-- The adapters whose scores stand for a selection: of each response the released score's, or else the
-- latest one's.
SELECT DISTINCT c.item_id, c.trait,
       coalesce(s.adapter_version, c.adapter_version) AS version,
       coalesce(s.adapter_sha256, c.adapter_sha256) AS sha256
FROM current_scores c
JOIN responses r ON r.response_id = c.response_id
LEFT JOIN released_scores s ON s.response_id = c.response_id AND s.trait = c.trait
WHERE r.purpose = 'operational'
  AND coalesce(s.adapter_sha256, c.adapter_sha256) IS NOT NULL
  AND ($seasons IS NULL OR list_contains($seasons, r.season))
  AND ($items IS NULL OR list_contains($items, r.item_id))
  AND ($from_date IS NULL OR coalesce(r.submitted_at, r.ingested_at)::DATE >= $from_date)
  AND ($to_date IS NULL OR coalesce(r.submitted_at, r.ingested_at)::DATE <= $to_date)
ORDER BY ALL
