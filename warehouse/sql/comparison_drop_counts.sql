-- A run is compared anew.
DELETE FROM comparison_counts WHERE run_id = $run_id
