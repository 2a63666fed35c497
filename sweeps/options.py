"""The settings of a sweep, told apart from those of its runs, and the plan that they make."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dg.settings.config import Count, CountOrZero, TrainConfig
from dg.settings.errors import ConfigError
from sweeps.objective import SOURCE_VAL, Objective, any_oracle, names_of, suffix_of
from sweeps.space import Space

MOST_AT_ONCE = 4  # trials that `concurrency=auto` starts, SYSTEMS 3.3
REFUSED = {
    "seed": "use seeds=[0,1,2], or seeds=[N] for one",
    "resume": "the same command again always resumes the study",
    "submit": "run the sweep itself on the cluster's head",
    "render.service": "the sweep starts the service; service=off for none",
    "tracking.parent_run_id": "the sweep makes the parent run",
    "tracking.run_name": "the trials are named after the study; use study=NAME",
}


@dataclass(frozen=True)
class SweepOptions:
    """The settings of any sweep."""

    trials: Count = 12  # settings tried in all, pruned ones included
    seeds: tuple[CountOrZero, ...] = (0,)  # runs of each; the mean over them counts
    concurrency: str = "1"  # trials at a time; auto: as many as keep the render workers busy
    service: Literal["auto", "off"] = "auto"  # auto: trials at once share render workers; off: each has its own
    study: str = "sweep"  # the same command again resumes the study of this name
    storage: str = "sqlite:///study.db"  # also journal:FILE (network file systems), postgresql://USER@HOST/DATABASE
    out: str = ""  # empty: runs/STUDY; trial-N/seed-S in it are the folders of the runs


@dataclass(frozen=True)
class ReferenceDepthOptions(SweepOptions):
    """The settings of `dg sweep reference_depth`."""

    objective: str = SOURCE_VAL  # MPJPE to minimise: source_val (held out of the source) or oracle:TARGET (tagged so)
    study: str = "reference_depth"  # the same command again resumes the study of this name


@dataclass(frozen=True)
class SearchOptions(SweepOptions):
    """The settings of `dg sweep search`."""

    trials: Count = 40  # settings tried in all, pruned ones included
    objectives: tuple[str, ...] = (SOURCE_VAL,)  # one or two of: source_val (MPJPE held out of the source),
    # oracle:TARGET (tagged so), both also with :FIGURE behind (pa_mpjpe_mm, n_mpjpe_mm, pck150, auc), and seconds
    study: str = "search"  # the same command again resumes the study of this name
    pruner: Literal["auto", "median", "hyperband", "off"] = "auto"  # ends trials early that are worse than others were
    # at that epoch; auto: median, off with two objectives or seconds
    prune_after: CountOrZero = 5  # epochs in which no trial is pruned; more than the method's pre-training takes


def problems(options: SweepOptions) -> list[str]:
    """What makes no sweep, in words."""
    found = []
    if options.concurrency != "auto" and not (options.concurrency.isdecimal() and int(options.concurrency) > 0):
        found.append(f"concurrency must be at least 1, or auto, got {options.concurrency!r}")
    if not options.seeds or len(set(options.seeds)) < len(options.seeds):
        found.append(f"seeds must be some and differ, got {list(options.seeds)}")
    if not options.study or not all(c.isascii() and (c.isalnum() or c in "._-") for c in options.study):
        found.append(f"study must be a name of letters, digits, '.', '_' and '-', got {options.study!r}")
    return found


def pruner_of(options: SearchOptions, objectives: Sequence[Objective]) -> str:
    """Return the pruner of a search: `median`, `hyperband` or `off`.

    Args:
        options: of the search; `auto` takes `median` where pruning is possible.
        objectives: what is optimised.

    Raises:
        ConfigError: a pruner was asked for where trials cannot be pruned.
    """
    why = "trials with two objectives are not ordered, so none can be called bad early" if len(objectives) > 1 else ""
    if objectives[0].unit == "s" and not why:
        why = "seconds are known only at the end of a run"
    if options.pruner in ("median", "hyperband") and why:
        raise ConfigError(f"pruner={options.pruner} is not possible here: {why}; use pruner=off")
    return options.pruner if options.pruner != "auto" else "off" if why else "median"


# Called with the study, its `outcome.Outcome` of at least one point, and the sweep's folder: writes what was found into
# it, and returns what to print and the files. Both types are heavy to import.
Report = Callable[..., tuple[str, list[Path]]]


@dataclass(frozen=True)
class SweepPlan:
    """What one command has settled before anything starts.

    Attributes:
        shared: arguments of every run.
        config: what they mean.
        rendering: a configuration whose render workers would serve all trials; None where they need none, or not the
            same.
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
        """Whether any objective is measured on a target."""
        return any_oracle(self.objectives)

    @property
    def by(self) -> str:
        """What is optimised."""
        return names_of(self.objectives)

    @property
    def concurrency(self) -> int:
        """How many trials run at once; for `auto` as many as keep the render workers busy, 1 to 4 (SYSTEMS 3.3)."""
        config = self.rendering or self.config
        if self.options.concurrency != "auto":
            return int(self.options.concurrency)
        if not config.needs_depth:
            return MOST_AT_ONCE
        capacity = config.render.actors * config.render.per_actor
        return min(MOST_AT_ONCE, max(1, math.ceil(capacity / config.render.lookahead)))
