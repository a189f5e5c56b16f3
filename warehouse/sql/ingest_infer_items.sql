-- Items that are not in the bank, with the scale that their human scores span. An item with
-- scores of one value only is left out: its scale cannot be told.
INSERT INTO items (item_id, trait, score_min, score_max, added_at)
SELECT s.item_id,
       coalesce(r.trait, 'overall') AS trait,
       floor(min(r.human_score))::INTEGER AS score_min,
       ceil(max(r.human_score))::INTEGER AS score_max,
       $now
FROM read_parquet($ratings) r
JOIN staged s ON s.row = r.row
WHERE s.item_id NOT IN (SELECT item_id FROM items)
GROUP BY s.item_id, coalesce(r.trait, 'overall')
HAVING ceil(max(r.human_score)) > floor(min(r.human_score))
