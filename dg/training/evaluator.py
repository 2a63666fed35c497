"""What a run is measured on: held-out source, virtual cameras and targets, with their depth, and the best lifter."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from dg.datasets.base import NOT_DRAWN, PoseDataset
from dg.evaluation.predictions import Evaluation, evaluate, not_drawn
from dg.evaluation.selection import History
from dg.files.checkpoint import Checkpoints
from dg.methods.base import DGMethod
from dg.settings.config import TrainConfig
from dg.tracking.names import epoch_metric
from dg.training.live_depth import LiveDepth
from dg.training.problem import Problem
from dg.training.run_record import save_details

Report = Callable[[dict[str, Any]], None]


class Evaluator:
    """Evaluates a method in training.

    Attributes:
        history: the evaluations so far.
        best_lifter: weights of the best one by source validation; None before the first.
        targets: with depth; None before the first evaluation.
        seconds: spent here.
    """

    def __init__(
        self,
        config: TrainConfig,
        problem: Problem,
        method: DGMethod,
        live_depth: LiveDepth | None,
        checkpoints: Checkpoints,
        report: Report,
    ) -> None:
        self.config, self.problem, self.method = config, problem, method
        self.live_depth, self.checkpoints, self.report = live_depth, checkpoints, report
        self.history = History()
        self.best_lifter: dict[str, torch.Tensor] | None = None
        self.targets: tuple[PoseDataset, ...] | None = None
        self.seconds = 0.0
        self._val: PoseDataset | None = None
        self._virtual: PoseDataset | None = None

    def evaluate(self, epoch: int, run_id: str) -> dict[str, float]:
        """Evaluate on every set, keep the record and the weights if they are the best so far.

        Args:
            epoch: that has ended.
            run_id: of MLflow, for the file of the best weights.

        Returns:
            The scores by metric name.

        Raises:
            RenderInterruptedError: the run was asked to stop while depth of the sets was drawn; nothing is recorded.
        """
        start = time.monotonic()
        val, targets = self._prepare()
        label, frames = self.problem.depth_label, self.config.frames
        of_val = evaluate(self.method, val, label, frames)
        virtual = None if self._virtual is None else evaluate(self.method, self._virtual, label, frames)
        is_best = self.history.would_be_best(_record(of_val))
        results = {t.name: evaluate(self.method, t, label, frames, details=is_best) for t in targets}
        records = {name: _record(e) for name, e in results.items()}
        self.history.add(epoch, _record(of_val), records, None if virtual is None else _record(virtual))
        if is_best:
            found = {name: result.details for name, result in results.items()}
            save_details(self.checkpoints.folder, epoch, self.config.skeleton, found)
            self.best_lifter = {k: v.detach().cpu().clone() for k, v in self.method.lifter.state_dict().items()}
            best = {"lifter": self.best_lifter, "epoch": epoch, "run_id": run_id, "config": self.config.plain()}
            self.checkpoints.save_best(best)
        self.checkpoints.save_history(self.history.records)
        self.seconds += time.monotonic() - start
        scores = {epoch_metric("val", name): value for name, value in _metrics(of_val).items()}
        seen = {} if virtual is None else {"virtual_cameras": virtual}
        for target, result in (seen | results).items():
            scores |= {epoch_metric(target, name): value for name, value in _metrics(result).items()}
        return scores

    def with_depth(self, dataset: PoseDataset) -> PoseDataset:
        """A data set on the method's device, with depth where the run needs it.

        Args:
            dataset: its poses may have depth already, from images.
        """
        poses = dataset.poses.to(self.method.context.device)
        if self.live_depth is None or poses.depth is not None:  # it came with its images
            return replace(dataset, poses=poses)
        self.report({"kind": "note", "text": f"depth of {len(poses):,} poses of {dataset.name}"})
        drawn = self.live_depth.with_depth(dataset, poses)
        if lost := int(drawn.notes[NOT_DRAWN]):
            self.report({"kind": "note", "text": not_drawn(dataset.name, lost, len(poses))})
        return drawn

    def _prepare(self) -> tuple[PoseDataset, tuple[PoseDataset, ...]]:
        """The held-out source and the targets; depth is drawn once."""
        if self._val is None or self.targets is None:
            self._val = self.with_depth(self.problem.val)
            targets = tuple(self.with_depth(t) for t in self.problem.targets)
            if self.problem.virtual is not None:
                self._virtual = self.with_depth(self.problem.virtual)
            self.targets = targets
        return self._val, self.targets


def _metrics(evaluation: Evaluation) -> dict[str, float]:
    return {k: v for k, v in evaluation.errors.summary().items() if k != "n"}


def _record(evaluation: Evaluation) -> dict[str, Any]:
    return {"protocol": evaluation.protocol, "not_drawn": evaluation.not_drawn, **evaluation.errors.summary()}
