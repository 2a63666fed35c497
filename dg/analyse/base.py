"""The contract of an analysis: trained checkpoints in, tables and figures out."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from jaxtyping import Float
from torch import Tensor

from dg.analyse.checkpoints import TrainedRun
from dg.datasets.base import PoseDataset

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ERRORS = {"mpjpe_mm": "MPJPE (mm)", "pa_mpjpe_mm": "PA-MPJPE (mm)", "n_mpjpe_mm": "N-MPJPE (mm)"}

Value = str | int | float | None


@dataclass(frozen=True)
class Comparison:
    """What an analysis compares: checkpoints on targets under one metric.

    Attributes:
        targets: `NAME:ARGUMENT` each, alike for all runs.
        metric: one of `ERRORS`, which give a number for each frame.
    """

    runs: Sequence[TrainedRun]
    targets: Sequence[str]
    metric: str = "mpjpe_mm"

    @property
    def quantity(self) -> str:
        """The metric as figures spell it."""
        return ERRORS[self.metric]

    def titled_targets(self) -> list[tuple[str, str]]:
        """Each target's title, its data set's name where that is unique, and its `NAME:ARGUMENT`."""
        names = [self.runs[0].target(target).name for target in self.targets]
        return [(n if names.count(n) == 1 else t, t) for n, t in zip(names, self.targets, strict=True)]

    def error(self, run: TrainedRun, dataset: PoseDataset) -> Float[Tensor, " frames"]:
        """The metric of every frame, on the CPU, millimetres."""
        return getattr(run.evaluate(dataset).errors, self.metric).cpu()

    def protocols(self) -> list[str]:
        """A line for each protocol under which errors are measured."""
        found = [run.target(t).protocol(run.depth_label) for t in self.targets for run in self.runs]
        return [f"errors under {protocol}" for protocol in dict.fromkeys(found)]

    def checks(self) -> dict[str, str]:
        """What the laws say of the data that were loaded, by part."""
        found: dict[str, str] = {}
        for run in self.runs:
            found |= run.checks
        return found

    def oracles(self, text: str) -> str:
        """What an analysis takes from ground truth, and whose depth is drawn from it."""
        drawn = [run.label for run in self.runs if run.config.needs_depth]
        words = f"depth drawn from the targets' true skeletons for {', '.join(drawn)} (an oracle)" if drawn else ""
        return "; ".join(part for part in (text, words) if part)


@dataclass(frozen=True)
class Table:
    """Rows of named values, those of a checkpoint behind its name, `checkpoint`.

    Attributes:
        side_by_side: which of them a printed table shows for each checkpoint; the others stand in the files alone.
    """

    name: str
    title: str
    rows: Sequence[dict[str, Value]]
    side_by_side: Sequence[str] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Findings:
    """What an analysis found.

    Attributes:
        ground_truth: what of it, beside the errors themselves, rests on ground truth, which no user of a lifter has.
    """

    tables: Sequence[Table]
    ground_truth: str
    figures: "dict[str, Figure]" = field(default_factory=dict)


@dataclass(frozen=True)
class NoOptions:
    """None."""


class Analysis(ABC):
    """Base of every analysis. `Options` is a frozen dataclass; its fields are the command line's keys."""

    Options: ClassVar[type[Any]] = NoOptions

    def __init__(self, options: Any) -> None:  # noqa: ANN401 - each analysis's own dataclass
        self.options = options

    @abstractmethod
    def run(self, comparison: Comparison) -> Findings:
        """Look at the checkpoints. Raises AnalysisError for one that cannot serve, and says which could."""


def change_percent(value: float | None, reference: float | None) -> float | None:
    """Return by how many percent a value lies above a reference; None where the reference is zero or one is not known.

    Args:
        value: any unit.
        reference: same unit.
    """
    return None if value is None or not reference else 100 * (value / reference - 1)
