-- Scales inferred just now that go below 0 or have more than $points score points.
SELECT item_id, trait, score_min, score_max
FROM items
WHERE added_at = $now AND (score_min < 0 OR score_max - score_min >= $points)
ORDER BY score_min, score_max DESC, item_id, trait
