-- A run begins.
INSERT INTO runs (run_id, kind, status, administration_date, started_at, parameters)
VALUES ($run_id, $kind, 'running', $administration_date, $started_at, $parameters)
