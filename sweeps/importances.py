"""How much each parameter of a search decides: PED-ANOVA (Watanabe et al., IJCAI 2023), as Optuna computes it."""

import warnings

import optuna
from optuna.trial import FrozenTrial

from sweeps.points import Outcome

LEAST_TRIALS = 6
_GOOD_TRIALS = 5  # the method wants at least so many among the best


def importances_of(study: optuna.Study, outcome: Outcome) -> dict[str, dict[str, float]]:
    """For each objective by name: parameter -> importance; they sum to one. Needs `LEAST_TRIALS` finished trials."""
    quantile = min(0.5, max(0.1, _GOOD_TRIALS / len(outcome.points)))
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=quantile)
    found = {}
    for number, objective in enumerate(outcome.objectives):
        sign = -1.0 if objective.maximise else 1.0

        def cost(trial: FrozenTrial, number: int = number, sign: float = sign) -> float:
            return sign * trial.values[number]

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            shares = optuna.importance.get_param_importances(study, evaluator=evaluator, target=cost)
        found[objective.name] = {name: float(shares.get(name, 0.0)) for name in outcome.space.names}
    return found
