-- The past, response by response (past: made by past_scores).
SELECT * FROM past ORDER BY item_id, trait, response_id
