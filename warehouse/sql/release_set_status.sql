-- A run is released or held.
UPDATE runs SET status = $status WHERE run_id = $run_id
