-- A run is judged anew.
DELETE FROM gate_results WHERE run_id = $run_id
