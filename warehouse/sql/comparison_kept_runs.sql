-- Whose scores a run would replace, as found when it was judged.
SELECT old_run_id, released, n FROM comparison_runs WHERE run_id = $run_id ORDER BY old_run_id
