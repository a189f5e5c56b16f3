-- Human-scored responses by item and trait; where two people scored one, their mean. Validity
-- responses are left out: an adapter that had seen them would always agree with them.
SELECT r.item_id,
       h.trait,
       r.response_id,
       avg(h.human_score) AS human_score,
       any_value(r.season) AS season,
       any_value(r.export_sha256) AS export_sha256,
       any_value(r.text_sha256) AS text_sha256,
       any_value(r.student_pseudo) AS student_pseudo,
       any_value(i.score_min) AS score_min,
       any_value(i.score_max) AS score_max
FROM human_scores h
JOIN responses r ON r.response_id = h.response_id
JOIN items i ON i.item_id = r.item_id AND i.trait = h.trait
WHERE r.characters > 0
  AND r.retired_at IS NULL
  AND r.purpose = 'operational'
  AND ($seasons IS NULL OR list_contains($seasons, r.season))
  AND ($items IS NULL OR list_contains($items, r.item_id))
GROUP BY r.item_id, h.trait, r.response_id
ORDER BY r.item_id, h.trait, r.response_id
