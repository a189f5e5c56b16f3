-- Where the time of a run went, by stage.
UPDATE runs SET stage_seconds = $stage_seconds WHERE run_id = $run_id
