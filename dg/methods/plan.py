"""The budget and the recipe that every method trains its lifter with, so that methods compare at equal cost."""

import math
from dataclasses import dataclass, field

import torch
from torch import nn

from lifters.recipe import Recipe


@dataclass(frozen=True)
class TrainingPlan:
    """What every method is given alike, so that they compare at equal cost.

    total_steps: the budget, in optimiser steps of the lifter, pre-training included. steps_per_epoch: batches in one
    pass over the source. pretrain_steps: how many of the total train the lifter on the source alone, before the
    method's own scheme starts. recipe: the lifter's optimiser, rate, schedule and loss.
    """

    total_steps: int
    steps_per_epoch: int
    pretrain_steps: int = 0
    recipe: Recipe = field(default_factory=Recipe)
    grad_clip: float = 1.0

    def lr(self, step: int) -> float:
        """Return the lifter's learning rate at one of its steps; a resumed run needs no scheduler state."""
        recipe, progress = self.recipe, self.progress(step)
        factors = {
            "constant": 1.0,
            "linear": 1.0 - 0.96 * progress,
            "cosine": 0.5 * (1.0 + math.cos(math.pi * progress)),
            "exponential": recipe.decay ** (step // max(self.steps_per_epoch, 1)),
        }
        return recipe.lr * factors[recipe.lr_schedule]

    def norm_momentum(self, step: int) -> float | None:
        """Return the momentum of the lifter's batch norms at one of its steps; None leaves it as built."""
        if self.recipe.norm_momentum is None:
            return None
        first, last = self.recipe.norm_momentum
        return first * (last / first) ** self.progress(step)

    def progress(self, step: int) -> float:
        """Return how much of the budget is used, in [0, 1]."""
        return min(step / max(self.total_steps, 1), 1.0)


def lifter_optimizer(lifter: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Build the optimiser that a recipe names, for the parameters of a lifter."""
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(lifter.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True)
    amsgrad = recipe.optimizer == "adam_amsgrad"
    return torch.optim.Adam(
        lifter.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay, amsgrad=amsgrad, fused=True
    )
