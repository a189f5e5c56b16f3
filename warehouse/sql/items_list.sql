-- Every item and trait.
SELECT item_id, trait, score_min, score_max, prompt, rubric,
       coalesce(reference_answers, []::VARCHAR[]) AS reference_answers,
       reported, cut_scores
FROM items
ORDER BY item_id, trait
