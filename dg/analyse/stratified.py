"""Errors by groups of test frames, as AugLift's post-hoc analyses show them (METHODS 4.8)."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from math import ceil
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from dg.analyse.base import Analysis, Comparison, Findings, Table, Value, change_percent
from dg.analyse.checkpoints import TrainedRun
from dg.analyse.figures import Panel, grouped_bars
from dg.datasets.base import PoseDataset

QUARTERS = (0.25, 0.5, 0.75)


def strata(score: Float[Tensor, " frames"], shares: Sequence[float]) -> Int[Tensor, " frames"]:
    """Return the group of each frame, 0 for the lowest scores.

    Frames of equal score are never parted, so groups may differ in size where scores repeat.

    Args:
        score: one number for each frame.
        shares: shares of the frames below each border, rising, in (0, 1).

    Returns:
        Numbers of the groups; -1 for frames whose score is NaN.
    """
    known = score[~score.isnan()].double()
    if len(known) == 0:
        return torch.full_like(score, -1, dtype=torch.long)
    # By sorting: torch.quantile takes no more than 16 million values.
    ordered = known.sort().values
    borders = torch.stack([ordered[max(0, ceil(share * len(ordered) - 1e-9) - 1)] for share in shares])
    groups = torch.bucketize(score.double(), borders)
    return torch.where(score.isnan(), -1, groups)


class StratifiedAnalysis(Analysis):
    """Subclasses score each test frame, once for all checkpoints, and name the groups that the scores are cut into.

    Attributes:
        names: names of the groups, lowest score first.
        shares: share of the frames below each border, rising.
    """

    names: ClassVar[Sequence[str]]
    shares: ClassVar[Sequence[float]] = QUARTERS
    title: ClassVar[str]
    score_name: ClassVar[str]
    ground_truth: ClassVar[str]

    @abstractmethod
    def score(self, dataset: PoseDataset) -> Float[Tensor, " frames"]:
        """A number for each frame of a target, NaN for frames to leave out. The data set carries no depth."""

    def notes(self, comparison: Comparison) -> list[str]:
        """What a reader of the table must know."""
        return []

    def run(self, comparison: Comparison) -> Findings:
        """Score the frames of each target, divide them into groups, and compare the errors of each group."""
        rows: list[dict[str, Value]] = []
        panels = []
        for title, target in comparison.titled_targets():
            score = self.score(comparison.runs[0].target(target)).cpu()
            groups = strata(score, self.shares)
            errors = {run.label: comparison.error(run, run.target(target)) for run in comparison.runs}
            rows += self._rows(title, score, groups, errors)
            panels.append(self._panel(title, groups, errors))
        figure = grouped_bars(panels, f"mean {comparison.quantity}", f"{self.title}: {self.ground_truth}")
        notes = [
            *self.notes(comparison),
            "change: of the mean, against the first checkpoint; medians and p90 stand in groups.csv",
            *comparison.protocols(),
        ]
        side_by_side = ("mean", "change_percent")
        table = Table("groups", self.title, rows, side_by_side, notes)
        return Findings([table], comparison.oracles(self.ground_truth), {"groups": figure})

    def _rows(
        self, title: str, score: Tensor, groups: Int[Tensor, " frames"], errors: dict[str, Tensor]
    ) -> list[dict[str, Value]]:
        rows: list[dict[str, Value]] = []
        for number, name in [*enumerate(self.names), (-1, "left out")]:
            chosen = groups == number
            if number < 0 and not chosen.any():
                continue
            within = score[chosen]
            known = bool(len(within)) and number >= 0
            place: dict[str, Value] = {
                "target": title,
                "group": name,
                "frames": int(chosen.sum()),
                f"{self.score_name}_from": float(within.min()) if known else None,
                f"{self.score_name}_to": float(within.max()) if known else None,
            }
            first: float | None = None
            for label, error in errors.items():
                figures = error_figures(error[chosen])
                change = change_percent(figures["mean"], first)
                first = figures["mean"] if first is None else first
                rows.append(place | {"checkpoint": label} | figures | {"change_percent": change})
        return rows

    def _panel(self, title: str, groups: Int[Tensor, " frames"], errors: dict[str, Tensor]) -> Panel:
        chosen = [groups == number for number in range(len(self.names))]
        ticks = [f"{name}\nn={int(c.sum()):,}" for name, c in zip(self.names, chosen, strict=True)]
        bars = {label: [error_figures(error[c])["mean"] for c in chosen] for label, error in errors.items()}
        return Panel(title, ticks, bars)


def error_of_variants(
    comparison: Comparison,
    column: str,
    ticks: Sequence[str],
    variants_of: Callable[[TrainedRun, str], Mapping[str, tuple[PoseDataset, Mapping[str, Value]]]],
) -> tuple[list[dict[str, Value]], list[Panel]]:
    """Return rows and panels of every run's error on variants of each target, with the change against the first one.

    Args:
        comparison: the runs and targets.
        column: what the table calls a variant.
        ticks: what the figure calls each of them.
        variants_of: a run and a target -> by name the changed data, and what the table says of it besides.
    """
    rows: list[dict[str, Value]] = []
    panels = []
    for title, target in comparison.titled_targets():
        bars: dict[str, list[float | None]] = {run.label: [] for run in comparison.runs}
        for run in comparison.runs:
            for name, (dataset, facts) in variants_of(run, target).items():
                error = comparison.error(run, dataset)
                bars[run.label].append(float(error.mean()))
                change = {"change_percent": change_percent(bars[run.label][-1], bars[run.label][0])}
                place = {"target": title, column: name, "frames": len(error), "checkpoint": run.label}
                rows.append({**place, **facts, **error_figures(error), **change})
        panels.append(Panel(title, ticks, bars))
    return rows, panels


def error_figures(error: Float[Tensor, " frames"]) -> dict[str, float | None]:
    """mean, median and p90 of some frames' errors; None of no frames."""
    if len(error) == 0:
        return {"mean": None, "median": None, "p90": None}
    return {"mean": float(error.mean()), "median": percentile(error, 50), "p90": percentile(error, 90)}


def percentile(values: Float[Tensor, " values"], percent: float) -> float:
    """Return a percentile with linear interpolation between neighbours.

    numpy computes it, because torch.quantile takes no more than 16 million values.

    Args:
        values: at least one number, on the CPU.
        percent: in [0, 100].
    """
    return float(np.percentile(values.double().numpy(), percent))
