"""The figures in MLflow: one run for the benchmark, one below it for each backbone and mix."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from benchmarks.engine.backbones import BUILD
from benchmarks.engine.rates import rate, spread

EXPERIMENT = "gradeline bench"


def log_to_mlflow(results: dict[str, Any], files: Sequence[Path]) -> None:
    """Log figures with targets to the run ``bench``, rates to a child for each mix.

    The store is ``build/bench/mlflow.db``.
    """
    logging.getLogger("alembic").setLevel(logging.WARNING)
    client = MlflowClient(tracking_uri=f"sqlite:///{BUILD / 'mlflow.db'}")
    known = client.get_experiment_by_name(EXPERIMENT)
    experiment = (
        known.experiment_id
        if known is not None
        else client.create_experiment(EXPERIMENT, (BUILD / "mlartifacts").as_uri())
    )
    parent = client.create_run(experiment, run_name="bench").info.run_id
    metrics = {
        f"{row['target']}/{row['case']}": row["value"]
        for row in results["figures"]
        if row["value"] is not None
    }
    params = {
        "rounds": results["rounds"],
        "scale": results["scale"],
        "code_sha256": results["code_sha256"],
        **{f"machine.{name}": value for name, value in results["machine"].items()},
        **{f"version.{name}": value for name, value in results["versions"].items()},
    }
    _log(client, parent, metrics, params)
    for file in files:
        client.log_artifact(parent, str(file))
    for backbone, mixes in results["speed"].items():
        for mix, systems in mixes.items():
            child = client.create_run(
                experiment, run_name=f"{backbone} {mix}", tags={"mlflow.parentRunId": parent}
            ).info.run_id
            rates = {
                f"{key}/tokens_per_s": spread([rate(one) for one in system["rounds"]]).median
                for key, system in systems.items()
            }
            _log(client, child, rates, {"backbone": backbone, "mix": mix})
            client.set_terminated(child)
    client.set_terminated(parent)


def _log(
    client: MlflowClient, run_id: str, metrics: dict[str, float], params: dict[str, Any]
) -> None:
    client.log_batch(
        run_id,
        metrics=[Metric(_key(name), value, 0, 0) for name, value in metrics.items()],
        params=[Param(_key(name), str(value)) for name, value in params.items()],
    )


def _key(name: str) -> str:
    """Names may hold letters, digits and a few signs only."""
    return re.sub(r"[^\w\-./ :]+", "_", name)
