"""How data sets, tables and models get into an MLflow run, by its client alone; all of it may be repeated."""

import json
import logging
import math
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dg.tracking.names import PARAM_SEED, TAG_INPUTS, TAG_LIFTER, TAG_METHOD, TAG_SOURCE

if TYPE_CHECKING:
    from mlflow import MlflowClient

ALIAS = "newest"  # of the newest version of a registered model; `latest` is a word of MLflow's own
_TABLES_TAG = "mlflow.loggedArtifacts"  # tells MLflow's pages which JSON files are tables
_MODEL_FILE = "MLmodel"
_MOST_NAME, _MOST_DIGEST, _MOST_METRICS = 500, 36, 1000
_END_S = 2.0
_SOURCE_TYPE = "dg"


def send_inputs(client: "MlflowClient", run_id: str, inputs: Sequence[Mapping[str, Any]]) -> None:
    """List data sets among a run's inputs.

    Args:
        client: client of the tracking store.
        run_id: of the run.
        inputs: each as `DataInput.plain` gives it.
    """
    from mlflow.entities import Dataset, DatasetInput, InputTag

    listed = []
    for data in inputs:
        profile = {"num_rows": data["rows"]} | ({"protocol": data["protocol"]} if data["protocol"] else {})
        dataset = Dataset(
            name=data["name"][:_MOST_NAME],
            digest=data["digest"][:_MOST_DIGEST],
            source_type=_SOURCE_TYPE,
            source=json.dumps({"data": data["source"] or data["name"]}),
            profile=json.dumps(profile),
        )
        listed.append(DatasetInput(dataset, [InputTag("mlflow.data.context", data["context"])]))
    client.log_inputs(run_id, listed)


def send_table(client: "MlflowClient", run_id: str, rows: Sequence[Mapping[str, Any]], name: str) -> None:
    """Write a table among a run's artifacts in the form that MLflow's pages show as a table.

    MLflow's own `log_table` would add the rows again where the file is there already.

    Args:
        client: of the store.
        run_id: of the run that receives the table.
        rows: one mapping of column to value each.
        name: of the artifact, ending in `.json`.
    """
    from pandas import DataFrame

    client.log_text(run_id, DataFrame(list(rows)).to_json(orient="split", index=False) or "", name)
    known = json.loads(client.get_run(run_id).data.tags.get(_TABLES_TAG, "[]"))
    entry = {"path": name, "type": "table"}
    if entry not in known:
        client.set_tag(run_id, _TABLES_TAG, json.dumps([*known, entry]))


def send_model(
    client: "MlflowClient", experiment_id: str, run_id: str, folder: Path, name: str, step: int, register: str
) -> str:
    """Make a logged model of a folder that `save_model` wrote, and a registered one where that is wished; its id.

    Args:
        client: of the store.
        experiment_id: of the run's experiment.
        run_id: of the run.
        folder: that `save_model` wrote.
        name: of the logged model.
        step: lifter step that its weights are of.
        register: name in the model registry; empty: none.

    Returns:
        The logged model's id.
    """
    import yaml
    from mlflow.entities import LoggedModelOutput

    model_id = _model_of(client, experiment_id, run_id, name)
    if not model_id:
        labels = _labels_of(client, run_id)
        model = client.create_logged_model(experiment_id, name, run_id, params=labels, model_type="lifter")
        model_id = model.model_id
        file = folder / _MODEL_FILE
        file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"model_id": model_id, "run_id": run_id}))
        client.log_model_artifacts(model_id, str(folder))
        client.finalize_logged_model(model_id, "READY")
        client.log_outputs(run_id, [LoggedModelOutput(model_id, step)])
    if register:
        _register(client, register, model_id, run_id)
    return model_id


def send_scores(
    client: "MlflowClient", run_id: str, model_id: str, scores: Sequence[Mapping[str, Any]], step: int, time_ms: int
) -> None:
    """Give a logged model its results, each under its data set.

    MLflow writes them among the run's own metrics too, where these very values stand at this step already.

    Args:
        client: client of the tracking store.
        run_id: of the model's run.
        model_id: of the model.
        scores: each a `ModelScore` as a dictionary.
        step: epoch of the model's weights.
        time_ms: when they were known; what is sent again with the same time is kept once.
    """
    from mlflow.entities import Metric

    found = [
        Metric(name, value, time_ms, step, model_id, score["dataset"][:_MOST_NAME], score["digest"][:_MOST_DIGEST])
        for score in scores
        for name, value in score["metrics"].items()
        if math.isfinite(value)
    ]
    for start in range(0, len(found), _MOST_METRICS):
        client.log_batch(run_id, metrics=found[start : start + _MOST_METRICS])


def _model_of(client: "MlflowClient", experiment_id: str, run_id: str, name: str) -> str:
    """The run's model of this name, whole; empty where there is none."""
    query = f"source_run_id = '{run_id}' AND name = '{name}'"
    found = client.search_logged_models([experiment_id], filter_string=query)
    return next((model.model_id for model in found if str(model.status) == "READY"), "")


def _labels_of(client: "MlflowClient", run_id: str) -> dict[str, str]:
    """What tells a run from others, so that the table of models shows it: all of them have one name."""
    data = client.get_run(run_id).data
    found = {tag: data.tags.get(tag, "") for tag in (TAG_METHOD, TAG_LIFTER, TAG_INPUTS, TAG_SOURCE)}
    return {name: text for name, text in (found | {PARAM_SEED: data.params.get(PARAM_SEED, "")}).items() if text}


def _register(client: "MlflowClient", name: str, model_id: str, run_id: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    known = client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
    source = client.get_logged_model(model_id).artifact_location
    version = known[0] if known else client.create_model_version(name, source, run_id, model_id=model_id)
    client.set_registered_model_alias(name, ALIAS, version.version)


class SystemMetrics:
    """CPU, memory and GPU of the trainer's machine, by MLflow's own monitor.

    It stops by itself when the store is away. MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING=false turns it off.
    """

    def __init__(self, run_id: str, uri: str, resumed: bool) -> None:
        from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
        from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        for name in ("mlflow.system_metrics.system_metrics_monitor", "mlflow.utils.autologging_utils"):
            logging.getLogger(name).setLevel(logging.ERROR)
        self._monitor = SystemMetricsMonitor(run_id, resume_logging=resumed, tracking_uri=uri)
        # Whole disks and networks say nothing of a run, and MLflow's page of it begins with these metrics.
        aside = (DiskMonitor, NetworkMonitor)
        self._monitor.monitors = [monitor for monitor in self._monitor.monitors if not isinstance(monitor, aside)]
        self._monitor.start()

    def finish(self) -> None:
        """Stop it and send what it has; of a store that does not answer, no longer than `_END_S` seconds."""
        ending = threading.Thread(target=self._monitor.finish, daemon=True)
        ending.start()
        ending.join(_END_S)


def system_metrics_wanted() -> bool:
    """What MLflow's own variable says; on where it says nothing."""
    import os

    return os.environ.get("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "true").lower() not in ("false", "0")
