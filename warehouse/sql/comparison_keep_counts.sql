-- Keep what a run would replace (compared: made by comparison_pairs).
INSERT INTO comparison_counts
SELECT $run_id, item_id, trait, replaces, old_version, new_version, old_score, new_score,
       human_score, count(*)
FROM compared
GROUP BY ALL
