-- Responses that had neither a score nor a condition code when a run ended, by item and trait: their
-- item has no adapter, or scoring failed. Those that an adapter has learned from wait for nothing.
SELECT r.item_id, i.trait, count(*) AS n
FROM runs this
JOIN responses r ON r.ingested_at <= this.finished_at
JOIN items i ON i.item_id = r.item_id
WHERE this.run_id = $run_id
  AND r.purpose = 'operational'
  AND r.retired_at IS NULL
  AND ($seasons IS NULL OR list_contains(CAST($seasons AS VARCHAR[]), r.season))
  AND ($items IS NULL OR list_contains(CAST($items AS VARCHAR[]), r.item_id))
  AND NOT EXISTS (
      SELECT 1
      FROM scores s
      WHERE s.response_id = r.response_id AND s.trait = i.trait AND s.scored_at <= this.finished_at
  )
  AND NOT EXISTS (
      SELECT 1 FROM training_rows t WHERE t.response_id = r.response_id AND t.trait = i.trait
  )
GROUP BY r.item_id, i.trait
ORDER BY r.item_id, i.trait
