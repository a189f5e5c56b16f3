-- A new item and trait.
INSERT INTO items (
    item_id, trait, score_min, score_max, prompt, rubric, reference_answers, added_at, reported,
    cut_scores
)
VALUES ($item_id, $trait, $score_min, $score_max, $prompt, $rubric,
        CAST($reference_answers AS VARCHAR[]), $now, $reported, CAST($cut_scores AS INTEGER[]))
