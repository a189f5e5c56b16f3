-- What a run would replace, as it was counted when the run was judged.
SELECT c.item_id, c.trait, i.score_min, i.score_max, coalesce(i.cut_scores, []) AS cut_scores,
       c.replaces, c.old_version, c.new_version, c.old_score, c.new_score, c.human_score, c.n
FROM comparison_counts c
JOIN items i ON i.item_id = c.item_id AND i.trait = c.trait
WHERE c.run_id = $run_id
ORDER BY c.item_id, c.trait, c.replaces, c.old_version, c.new_version, c.old_score, c.new_score,
         c.human_score
