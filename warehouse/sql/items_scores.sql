-- How many scores stand on the scale of an item and trait.
SELECT (SELECT count(*) FROM scores WHERE item_id = $item_id AND trait = $trait) AS scores,
       (SELECT count(*) FROM human_scores WHERE item_id = $item_id AND trait = $trait) AS human_scores
