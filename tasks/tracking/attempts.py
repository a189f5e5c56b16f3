"""Go on with the MLflow run that a killed training has left, instead of beginning another."""

from collections.abc import Mapping
from functools import partial

from mlflow.entities import Run

from tasks.tracking.runs import start_run
from tasks.tracking.store import Tracking, pages, told


@told
def take_up_run(tracking: Tracking, subject: str, run_id: str, tags: Mapping[str, str]) -> str:
    """Begin the parent run of a flow run, or take up the one of its killed attempt.

    What the attempt has registered stays where it is, since the registry leads there. Its other
    children are withdrawn: nothing came of them, and what they were about is done again.

    Args:
        tracking: where.
        subject: of the experiment.
        run_id: the flow run.
        tags: of a run that is begun.

    Returns:
        MLflow's id of the parent.
    """
    client = tracking.client()
    experiments = [tracking.experiment_id(client, subject)]

    def found(filter_string: str) -> list[Run]:
        return pages(partial(client.search_runs, experiments, filter_string))

    attempts = found(f"attributes.run_name = '{run_id}'")
    if not attempts:
        return start_run(tracking, subject, run_id, tags)
    parent = str(attempts[0].info.run_id)
    registered = {version.run_id for version in pages(client.search_model_versions)}
    for child in found(f"tags.`mlflow.parentRunId` = '{parent}'"):
        if child.info.run_id not in registered:
            client.delete_run(child.info.run_id)
    return parent
