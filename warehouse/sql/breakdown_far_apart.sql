-- Responses whose score is two points or more from the first rater's, among the scores that count
-- now by the adapters that a run used ($adapters_of), or by any where that is null. Ratings come in
-- later than scores, so one run's own scores would not do. What an adapter has learned from does
-- not count.
SELECT c.item_id, c.trait, c.response_id
FROM current_scores c
JOIN human_scores h ON h.response_id = c.response_id AND h.trait = c.trait AND h.rater = 1
JOIN responses r ON r.response_id = c.response_id
WHERE c.status = 'scored'
  AND abs(h.human_score - c.score) >= 2
  AND ($seasons IS NULL OR list_contains(CAST($seasons AS VARCHAR[]), r.season))
  AND ($items IS NULL OR list_contains(CAST($items AS VARCHAR[]), c.item_id))
  AND (
      $adapters_of IS NULL
      OR EXISTS (
          SELECT 1
          FROM scores used
          WHERE used.run_id = $adapters_of AND used.item_id = c.item_id AND used.trait = c.trait
            AND used.adapter_sha256 = c.adapter_sha256
      )
  )
  AND NOT EXISTS (
      SELECT 1
      FROM training_rows t
      WHERE t.adapter_sha256 = c.adapter_sha256
        AND t.response_id = c.response_id AND t.trait = c.trait
  )
ORDER BY c.item_id, c.trait, c.response_id
