-- A new item and trait.
INSERT INTO items
VALUES ($item_id, $trait, $score_min, $score_max, $prompt, $rubric,
        CAST($reference_answers AS VARCHAR[]), $now)
