-- A run is compared anew.
DELETE FROM comparison_runs WHERE run_id = $run_id
