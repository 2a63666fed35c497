"""The settings of `dg report`. Loads nothing heavy, so that its help is quick."""

from dataclasses import dataclass
from typing import Literal

from dg.tracking.names import ActionMetric, Metric, Selection


@dataclass(frozen=True)
class ReportOptions:
    """Which runs are shown, and how they are compared."""

    experiment: str = "dg"  # MLflow experiment, where no folder is given
    tracking_uri: str = ""  # MLflow store; empty: MLFLOW_TRACKING_URI, else sqlite:///mlflow.db
    parent: str = ""  # MLflow run id: only the runs that it started (a grid's)
    selection: Selection = "source_val"  # oracle: best by the target itself, not fair
    metric: Literal[Metric, ActionMetric] = "mpjpe_mm"
    baseline: str = "erm"  # method that the others are compared with, seed by seed; empty: none
    title: str = ""  # of the page; empty: what was given
    out: str = "report.html"  # file to write
