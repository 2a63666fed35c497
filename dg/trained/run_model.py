"""The lifter of a finished run as an MLflow model in ONNX, which `mlflow.pyfunc.load_model` loads without this package.

The export takes about five seconds of one core and MLflow's own imports two, so that it is left out of short runs.
"""

import shutil
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dg.settings.config import ConfigError, TrainConfig
from dg.tracking import ModelScore, NullTracker, Tracker, target_metrics
from dg.tracking.labels import dataset_label
from dg.tracking.names import HEADLINE

NAME, FOLDER = "lifter", "mlflow_model"
LONG_S = 300.0  # training time from which `tracking.model=auto` logs the model
_EXAMPLE_ROWS = 2


class RunModel:
    """What a run does with its lifter at the end; it travels to the trainer actor, and loads nothing before."""

    def log(self, tracker: Tracker, folder: Path, config: TrainConfig, summary: dict[str, Any]) -> str:
        """Log the best lifter of a run as a model, and register it where `tracking.register` names a model.

        Args:
            tracker: of the run.
            folder: of the run; takes the model's files until they are sent.
            config: of the run.
            summary: of the run.

        Returns:
            What happened, in words; empty where nothing was wanted.
        """
        asked = config.tracking
        long = bool(asked.register) or summary["seconds"] >= LONG_S
        wanted = long if asked.model == "auto" else asked.model == "on"
        if isinstance(tracker, NullTracker) or not wanted:
            return ""
        start = time.monotonic()
        try:
            epoch = save_lifter(folder, folder / FOLDER)
        except ConfigError as error:  # the extra `export` is not installed
            return f"the lifter is not logged as a model: {error}"
        except Exception as error:  # a lifter that ONNX cannot express must not cost its results
            return f"the lifter is not logged as a model: {type(error).__name__}: {str(error).splitlines()[0][:200]}"
        tracker.log_model(folder / FOLDER, NAME, epoch, config.tracking.register, scores_of(summary))
        return f"lifter logged as an MLflow model in {time.monotonic() - start:.1f} s"

    def tidy(self, folder: Path) -> None:
        """Remove the model's files from a run's folder once nothing waits to be sent to MLflow any more."""
        if not any(folder.glob("mlflow_spool.jsonl*")):
            shutil.rmtree(folder / FOLDER, ignore_errors=True)


def scores_of(summary: Mapping[str, Any]) -> list[ModelScore]:
    """Return the results of a run's best lifter on each target, for the table of models in MLflow.

    Args:
        summary: of the run.
    """
    contents = summary["data"]
    return [
        ModelScore(dataset_label(row["target"]), contents[row["target"]], target_metrics(row["target"], row))
        for row in summary["results"]
        if row["selection"] == HEADLINE and row["target"] in contents
    ]


def save_lifter(run: Path, folder: Path) -> int:
    """Write the lifter of a run's folder as MLflow's `save_model` does, with signature and input example.

    Args:
        run: folder of the run, with its best checkpoint.
        folder: is replaced.

    Returns:
        The epoch of its weights; 0 where the checkpoint does not tell.

    Raises:
        ConfigError: the extra `export` is not installed.
        CheckpointError: the checkpoint cannot be used.
    """
    # Here, as a driver that only watches a run loads none of it.
    import numpy as np

    from dg.trained.description import METADATA_KEY, LifterDescription
    from dg.trained.stored import load_checkpoint
    from dg.trained.writers import ExportedLifter, onnx_bytes

    stored = load_checkpoint(run)
    if stored.config.answers != "metres":
        raise ConfigError(f"answers={stored.config.answers}, which the true root alone brings to metres")
    module = ExportedLifter(stored.lifter, stored.config.frames)
    description = LifterDescription.of_config(stored.config, made_from=stored.origin())
    document = description.document(stored.lifter.target_frames(stored.config.frames))
    data = onnx_bytes(module, document)
    import onnx
    from mlflow.models import infer_signature
    from mlflow.onnx import save_model

    example = module.example(_EXAMPLE_ROWS).numpy()
    answer = np.zeros((_EXAMPLE_ROWS, *document["output"]["shape"][1:]), np.float32)
    shutil.rmtree(folder, ignore_errors=True)
    save_model(
        onnx.load_from_string(data),
        str(folder),
        signature=infer_signature(example, answer),
        input_example=example,
        # Named, as MLflow would otherwise start a process and load the model there to find them out.
        pip_requirements=[f"{name}=={version(name)}" for name in ("mlflow", "onnx", "onnxruntime", "numpy")],
        onnx_execution_providers=["CPUExecutionProvider"],
        metadata={METADATA_KEY: document},
    )
    return stored.epoch or 0
