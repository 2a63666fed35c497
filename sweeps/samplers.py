"""Which Optuna sampler and pruner a sweep uses."""

from collections.abc import Sequence

import numpy as np
import optuna

from sweeps.objective import Objective
from sweeps.space import Range, Space

FIRST_TRIALS = 6  # tried at random before a model of the objective is made, SYSTEMS 3.1
PRUNE_FROM_TRIAL = 4  # so many trials must have ended before one is pruned, SYSTEMS 3.1


def make_sampler(space: Space, objectives: Sequence[Objective], seed: int, trials: int) -> optuna.samplers.BaseSampler:
    """A Gaussian process for one number, TPE for several parameters, a choice or two objectives.

    trials: how many the study holds. Each sitting draws from a stream of its own: one that began with the first seed
    again would propose again what the sitting before has tried.
    """
    seed = int(np.random.SeedSequence([seed, trials]).generate_state(1)[0])
    (first, *more) = space.parameters.values()
    if not more and isinstance(first, Range) and len(objectives) == 1:
        # It suits one noisy parameter, and keeps away from the trials that are still running.
        return optuna.samplers.GPSampler(seed=seed, n_startup_trials=max(len(space.anchors), PRUNE_FROM_TRIAL))
    # Its constant liar, on by default in Optuna 5, keeps trials that run at once apart.
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=max(FIRST_TRIALS, 2 * len(space.parameters)))


def make_pruner(name: str, prune_after: int, epochs: int) -> optuna.pruners.BasePruner:
    """`off`, `median` or `hyperband`. prune_after: epochs in which no trial ends; epochs: of a whole run."""
    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=PRUNE_FROM_TRIAL, n_warmup_steps=prune_after)
    if name == "hyperband":
        first = max(1, min(prune_after, epochs))
        return optuna.pruners.HyperbandPruner(min_resource=first, max_resource=max(first, epochs), reduction_factor=3)
    return optuna.pruners.NopPruner()
