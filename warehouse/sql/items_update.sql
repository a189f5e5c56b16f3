-- An item and trait whose description or unused scale has changed.
UPDATE items
SET score_min = $score_min,
    score_max = $score_max,
    prompt = $prompt,
    rubric = $rubric,
    reference_answers = CAST($reference_answers AS VARCHAR[]),
    reported = $reported,
    cut_scores = CAST($cut_scores AS INTEGER[])
WHERE item_id = $item_id AND trait = $trait
