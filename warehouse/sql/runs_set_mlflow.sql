-- The MLflow run that holds a run's figures. The note that there was none yet goes.
UPDATE runs
SET mlflow_run_id = $mlflow_run_id,
    message = replace(replace(message, ' | ' || $note, ''), $note, '')
WHERE run_id = $run_id
