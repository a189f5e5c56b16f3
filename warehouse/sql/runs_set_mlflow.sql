-- The MLflow run that holds a run's figures.
UPDATE runs SET mlflow_run_id = $mlflow_run_id WHERE run_id = $run_id
