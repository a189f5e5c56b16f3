-- What will hold a run, kept while it runs: if it is killed, whoever takes it up knows.
UPDATE runs SET held_reasons = $held_reasons WHERE run_id = $run_id
