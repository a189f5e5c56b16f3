-- Blank responses get condition code B instead of a score.
INSERT INTO scores (run_id, shard, response_id, item_id, trait, status, condition_code, scored_at)
SELECT $run_id, '', p.response_id, p.item_id, p.trait, 'coded', 'B', $now
FROM plan p
WHERE p.blank
  AND NOT EXISTS (
      SELECT 1 FROM scores s WHERE s.response_id = p.response_id AND s.trait = p.trait
  )
