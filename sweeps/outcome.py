"""The finished trials of a study as plain numbers: which of them are best, and what each parameter decides."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import fmean

import optuna
from optuna.trial import FrozenTrial, TrialState

from sweeps.objective import Objective
from sweeps.space import Space, Value
from sweeps.study import PRUNED_AT

LEAST_TRIALS = 6  # finished ones, for importances
_GOOD_TRIALS = 5  # PED-ANOVA wants at least so many among the best


@dataclass(frozen=True)
class FinishedTrial:
    """A trial that was trained to its end.

    Attributes:
        objectives: for each objective its value by seed; the others are MPJPE in millimetres.
        seconds: training time of all seeds.
        waiting: share of that time spent waiting for depth, in [0, 1].
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
        """The mean over seeds of each objective, in the order of the objectives."""
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
    finished: list[FinishedTrial]
    pruned: list[PrunedTrial] = field(default_factory=list)

    def best(self) -> list[FinishedTrial]:
        """The best trial; of two objectives all that no other beats in both, in the order of the first."""
        if len(self.objectives) == 1:
            return [best_of(self.finished, self.objectives[0])]
        return front_of(self.finished, self.objectives)


def outcome_of(study: optuna.Study, space: Space, objectives: tuple[Objective, ...]) -> Outcome:
    """Read the finished and the pruned trials of a study.

    Args:
        study: of Optuna.
        space: parameters and their ranges.
        objectives: what the study optimises.
    """
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    complete = [_finished(t, space) for t in trials if t.state == TrialState.COMPLETE]
    pruned = [
        PrunedTrial(space.tidy(t.params), t.number, t.user_attrs[PRUNED_AT], _last(t))
        for t in trials
        if t.state == TrialState.PRUNED and PRUNED_AT in t.user_attrs
    ]
    return Outcome(space, objectives, complete, pruned)


def best_of(finished: Sequence[FinishedTrial], objective: Objective) -> FinishedTrial:
    """Return the trial with the best mean of the first objective, the earliest of equals.

    Args:
        finished: at least one trial.
        objective: the first objective, which says whether higher is better.
    """
    return min(finished, key=lambda trial: (objective.sign * trial.means[0], trial.trial))


def front_of(finished: Sequence[FinishedTrial], objectives: Sequence[Objective]) -> list[FinishedTrial]:
    """Return the Pareto front: trials that no other one equals or beats in every objective and beats in one.

    Args:
        finished: the trials.
        objectives: what is optimised, in the order of the trials' means.

    Returns:
        The trials of the front, ordered by the first objective.
    """
    costs = {t.trial: tuple(o.sign * m for o, m in zip(objectives, t.means, strict=True)) for t in finished}

    def beaten(cost: tuple[float, ...]) -> bool:
        return any(other != cost and all(o <= c for o, c in zip(other, cost, strict=True)) for other in costs.values())

    return sorted((t for t in finished if not beaten(costs[t.trial])), key=lambda t: (costs[t.trial], t.trial))


def importances_of(study: optuna.Study, outcome: Outcome) -> dict[str, dict[str, float]]:
    """Compute the share of each parameter in reaching good trials.

    Args:
        study: of Optuna.
        outcome: its trials, of which at least `LEAST_TRIALS` are finished.

    Returns:
        Objective's name -> parameter -> importance; the importances of an objective sum to one.

    Reference:
        PED-ANOVA (Watanabe et al., IJCAI 2023), as Optuna computes it.
    """
    evaluator = importance_evaluator(outcome)
    found = {}
    for number, objective in enumerate(outcome.objectives):
        cost = partial(cost_of, number, objective.sign)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            shares = optuna.importance.get_param_importances(study, evaluator=evaluator, target=cost)
        found[objective.name] = {name: float(shares.get(name, 0.0)) for name in outcome.space.names}
    return found


def cost_of(number: int, sign: int, trial: FrozenTrial) -> float:
    """One objective of a trial, as Optuna's functions take it."""
    return sign * trial.values[number]


def importance_evaluator(outcome: Outcome) -> optuna.importance.PedAnovaImportanceEvaluator:
    """Return PED-ANOVA for a study of this size: it calls a tenth of the trials good, but five at least."""
    quantile = min(0.5, max(0.1, _GOOD_TRIALS / len(outcome.finished)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.importance.PedAnovaImportanceEvaluator(target_quantile=quantile)


def _finished(trial: FrozenTrial, space: Space) -> FinishedTrial:
    runs = trial.user_attrs["runs"]
    return FinishedTrial(
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
