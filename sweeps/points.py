"""The finished trials of a study as plain numbers, and which of them are best."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev

import optuna
from optuna.trial import FrozenTrial, TrialState

from sweeps.objective import Objective
from sweeps.space import Space, Value
from sweeps.study import PRUNED_AT


@dataclass(frozen=True)
class Point:
    """One finished trial. objectives: of each objective, its value by seed; the others are MPJPE in millimetres.

    seconds: training time of all seeds. waiting: share of it that passed waiting for depth.
    """

    params: dict[str, Value]
    trial: int
    objectives: tuple[tuple[float, ...], ...]
    source_val: tuple[float, ...]
    targets: dict[str, tuple[float, ...]]
    seconds: float = 0.0
    waiting: float = 0.0

    @property
    def means(self) -> tuple[float, ...]:
        return tuple(fmean(values) for values in self.objectives)


@dataclass(frozen=True)
class PrunedTrial:
    """A trial that was given up: at which epoch, and what the first objective was there."""

    params: dict[str, Value]
    trial: int
    epoch: int
    value: float


@dataclass(frozen=True)
class Outcome:
    """What a sweep has found out so far."""

    space: Space
    objectives: tuple[Objective, ...]
    points: list[Point]
    pruned: list[PrunedTrial] = field(default_factory=list)

    def best(self) -> list[Point]:
        """The best point; of two objectives all that no other beats in both, in the order of the first."""
        if len(self.objectives) == 1:
            return [best_of(self.points, self.objectives[0])]
        return front_of(self.points, self.objectives)


def outcome_of(study: optuna.Study, space: Space, objectives: tuple[Objective, ...]) -> Outcome:
    """Read a study."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    complete = [_point(t, space) for t in trials if t.state == TrialState.COMPLETE]
    pruned = [
        PrunedTrial(space.tidy(t.params), t.number, t.user_attrs[PRUNED_AT], _last(t))
        for t in trials
        if t.state == TrialState.PRUNED and PRUNED_AT in t.user_attrs
    ]
    return Outcome(space, objectives, complete, pruned)


def best_of(points: Sequence[Point], objective: Objective) -> Point:
    """The best mean of the first objective, the earliest trial of equals."""
    sign = -1 if objective.maximise else 1
    return min(points, key=lambda p: (sign * p.means[0], p.trial))


def front_of(points: Sequence[Point], objectives: Sequence[Objective]) -> list[Point]:
    """The Pareto front: the points that no other one equals or beats in every objective and beats in one."""
    signs = [-1 if o.maximise else 1 for o in objectives]
    costs = {p.trial: tuple(s * m for s, m in zip(signs, p.means, strict=True)) for p in points}

    def beaten(cost: tuple[float, ...]) -> bool:
        return any(other != cost and all(o <= c for o, c in zip(other, cost, strict=True)) for other in costs.values())

    return sorted((p for p in points if not beaten(costs[p.trial])), key=lambda p: (costs[p.trial], p.trial))


def spread(seeds: Sequence[float]) -> str:
    """`61.2 ± 0.4`: mean and sample standard deviation over the seeds."""
    return f"{fmean(seeds):.1f} ± {stdev(seeds):.1f}" if len(seeds) > 1 else f"{fmean(seeds):.1f}"


def _point(trial: FrozenTrial, space: Space) -> Point:
    runs = trial.user_attrs["runs"]
    return Point(
        params=space.tidy(trial.params),
        trial=trial.number,
        objectives=tuple(zip(*(run["objectives"] for run in runs), strict=True)),
        source_val=tuple(run["source_val"] for run in runs),
        targets={name: tuple(run["targets"][name] for run in runs) for name in runs[0]["targets"]},
        seconds=sum(run["wall_s"] for run in runs),
        waiting=fmean(run["waiting"] for run in runs),
    )


def _last(trial: FrozenTrial) -> float:
    return trial.intermediate_values[max(trial.intermediate_values)] if trial.intermediate_values else float("nan")
