"""A sweep that was checked and can begin."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dg.settings.config import TrainConfig
from sweeps.objective import Objective, any_oracle, names_of, suffix_of
from sweeps.options import SweepOptions, trials_at_once
from sweeps.space import Space

# Called with the study, its `points.Outcome` of at least one point, and the sweep's folder: writes what was found into
# it, and returns what to print and the files. Both types are heavy to import.
Report = Callable[..., tuple[str, list[Path]]]


@dataclass(frozen=True)
class SweepPlan:
    """What one command has settled before anything starts.

    shared: words for every run. config: what they mean. rendering: a configuration whose render workers would serve all
    trials; None where they need none, or not the same.
    """

    options: SweepOptions
    shared: tuple[str, ...]
    config: TrainConfig
    objectives: tuple[Objective, ...]
    space: Space
    report: Report
    rendering: TrainConfig | None
    pruner: str = "off"
    prune_after: int = 0

    @property
    def name(self) -> str:
        """Of the study and of the parent run; one that sees a target says so."""
        return self.options.study + suffix_of(self.objectives)

    @property
    def is_oracle(self) -> bool:
        return any_oracle(self.objectives)

    @property
    def by(self) -> str:
        """What is optimised."""
        return names_of(self.objectives)

    @property
    def concurrency(self) -> int:
        return trials_at_once(self.options, self.rendering or self.config)

    @property
    def shares_rendering(self) -> bool:
        """Whether the trials are given one render service."""
        wanted = self.options.service == "auto" and self.concurrency > 1
        return wanted and self.rendering is not None and self.config.pool == "ray"
