-- Responses by item and trait that nobody has scored, at most $most of each, chosen by a hash of
-- their ids. Validity responses are left out, and so are those without a text.
SELECT r.item_id,
       i.trait,
       r.response_id,
       r.season,
       r.export_sha256,
       r.text_sha256
FROM responses r
JOIN items i ON i.item_id = r.item_id
WHERE r.characters > 0
  AND r.retired_at IS NULL
  AND r.purpose = 'operational'
  AND ($seasons IS NULL OR list_contains($seasons, r.season))
  AND ($items IS NULL OR list_contains($items, r.item_id))
  AND NOT EXISTS (
      SELECT 1 FROM human_scores h WHERE h.response_id = r.response_id AND h.trait = i.trait
  )
QUALIFY row_number() OVER (
    PARTITION BY r.item_id, i.trait ORDER BY sha256(r.response_id), r.response_id
) <= $most
ORDER BY r.item_id, i.trait, r.response_id
