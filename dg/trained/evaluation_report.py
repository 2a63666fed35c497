"""What an evaluation leaves behind: results as JSON, the errors of every frame as an npz file, a run in MLflow."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from dg.datasets.base import PoseDataset
from dg.evaluation.metrics import PoseErrors
from dg.evaluation.predictions import Evaluation
from dg.tracking import Tracker
from dg.tracking.names import SELECTIONS_TABLE, target_metrics

FILES_FOLDER = "evaluation"  # of the run's artifacts
TAG_EVALUATES = "evaluates"  # run id or file: marks a run as an evaluation of it


@dataclass(frozen=True)
class TargetResult:
    """An evaluation with the data set it was made on."""

    evaluation: Evaluation
    dataset: PoseDataset

    @property
    def target(self) -> str:
        """The name of the data set that was evaluated."""
        return self.dataset.name

    def row(self, selection: str, epoch: int | None) -> dict[str, Any]:
        """The averages over frames and over actions, as `summary.json` of a run has them, and those of each action."""
        errors = self.evaluation.errors
        row = {"target": self.target, "selection": selection, "epoch": "-" if epoch is None else epoch}
        row |= {"protocol": self.evaluation.protocol, "not_drawn": self.evaluation.not_drawn, **errors.summary()}
        return row if errors.action is None else row | {"actions": errors.per_action(self.dataset.actions)}

    def arrays(self) -> dict[str, np.ndarray]:
        """One value a frame: every metric (float32), and whom and what the frame shows."""
        errors, data = self.evaluation.errors, self.dataset
        arrays = {
            f.name: getattr(errors, f.name).cpu().numpy().astype(np.float32)
            for f in fields(PoseErrors)
            if f.name != "action"
        }
        arrays |= {name: getattr(data, name).cpu().numpy() for name in ("subject", "action", "clip")}
        arrays |= {"subjects": np.array(data.subjects), "actions": np.array(data.actions)}
        return arrays | {"protocol": np.array(self.evaluation.protocol)}


def log_results(tracker: Tracker, results: Sequence[TargetResult], selection: str) -> None:
    """The metrics of each target, and the table of all averages, over actions too.

    Args:
        tracker: the run that receives them.
        results: one of each target.
        selection: how the evaluated checkpoint was chosen, as `last` or `source_val`.
    """
    rows = []
    for result in results:
        summary = result.evaluation.errors.summary()
        tracker.log_metrics(target_metrics(result.target, summary), step=0)
        rows.append({"target": result.target, "selection": selection, "protocol": result.evaluation.protocol} | summary)
    tracker.log_table(rows, SELECTIONS_TABLE)
