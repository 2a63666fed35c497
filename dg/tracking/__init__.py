"""Recording runs. The home of MLflow, beside `dg.compare`; MLflow itself is imported only when a run starts.

The driver calls `prepare` once; the trainer makes a tracker with `make_tracker` and is the only writer of its run.
"""

from pathlib import Path

from dg.tracking.base import DataInput, ModelScore, NullTracker, Tracker, TrackingError
from dg.tracking.names import (
    METRICS,
    protocol_tag,
    run_tags,
    target_metric,
    target_metrics,
)
from dg.tracking.stores import OFF, environment_tags, look_at, prepare, tracking_uri, ui_command

__all__ = [
    "METRICS",
    "DataInput",
    "ModelScore",
    "NullTracker",
    "Tracker",
    "TrackingError",
    "environment_tags",
    "look_at",
    "make_tracker",
    "prepare",
    "protocol_tag",
    "run_tags",
    "target_metric",
    "target_metrics",
    "tracking_uri",
    "ui_command",
]


def make_tracker(uri: str, experiment: str, folder: Path, watch_machine: bool = False) -> Tracker:
    """Return the tracker of one run.

    Args:
        uri: tracking store; `off` for none.
        experiment: name of the MLflow experiment.
        folder: the run's own folder, which takes images and whatever could not be sent to MLflow.
        watch_machine: whether MLflow's monitor logs CPU, memory and GPU while the run goes on.

    Raises:
        TrackingError: the store cannot be used at all.
    """
    uri = tracking_uri(uri)
    if uri in OFF:
        return NullTracker()
    from dg.tracking.mlflow_tracker import MLflowTracker

    return MLflowTracker(uri, experiment, folder, watch_machine=watch_machine)
