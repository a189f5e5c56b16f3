-- What computed a run's scores.
SELECT DISTINCT backbone_sha256, engine FROM scores WHERE run_id = $run_id AND status = 'scored'
