-- The human scores that an export brings.
INSERT INTO human_scores
SELECT response_id, item_id, trait, rater, human_score, $export_sha256, $now FROM new_scores
