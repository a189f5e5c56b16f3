-- Every item and trait with its scale, in the order that ratings_scores counts them.
SELECT item_id, trait, score_min, score_max FROM items ORDER BY item_id, trait
