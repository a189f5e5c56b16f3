-- Every score that is another than the one that stood there before, released ones first (compared:
-- made by comparison_pairs). crossed lists the cut scores that lie between the two.
SELECT c.response_id,
       c.item_id,
       c.trait,
       r.season,
       c.replaces,
       c.old_score,
       c.new_score,
       c.new_score - c.old_score AS shift,
       array_to_string(list_filter(
           coalesce(i.cut_scores, []), lambda cut: (c.old_score < cut) <> (c.new_score < cut)
       ), ' ') AS crossed,
       c.human_score,
       c.old_raw_score,
       c.new_raw_score,
       c.old_run_id,
       c.old_version,
       c.old_adapter_sha256,
       c.old_engine,
       c.new_version,
       c.new_adapter_sha256,
       c.new_engine
FROM compared c
JOIN items i ON i.item_id = c.item_id AND i.trait = c.trait
JOIN responses r ON r.response_id = c.response_id
WHERE c.replaces <> 'nothing' AND c.old_score IS DISTINCT FROM c.new_score
ORDER BY c.replaces = 'released' DESC, c.item_id, c.trait, c.response_id
