"""What a result is made of: steps, poses seen, generator steps, and whether the loss was still falling at the end."""

from collections.abc import Sequence

import torch

from dg.methods.base import DGMethod

LAST_PART = 0.2


def relative_change(steps: Sequence[int], losses: Sequence[float], part: float = LAST_PART) -> float | None:
    """By how many percent a loss changes over the last part of a training: a straight line fitted to it.

    Args:
        steps: lifter steps, rising.
        losses: mean loss since the step before.
        part: share of the steps that counts as the last.

    Returns:
        Percent of the line's value at the beginning of the part, negative where the loss falls; None for fewer than
        three points in it.
    """
    if not steps:
        return None
    begin = (1 - part) * steps[-1]
    chosen = [(s, v) for s, v in zip(steps, losses, strict=True) if s >= begin]
    if len(chosen) < 3:
        return None
    x, y = torch.tensor(chosen, dtype=torch.float64).unbind(1)
    slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
    first = y.mean() + slope * (x[0] - x.mean())
    return float(100 * slope * (x[-1] - x[0]) / first)


def made_of(method: DGMethod, curve: Sequence[tuple[int, float]]) -> dict[str, float]:
    """Return the figures of a run so far.

    Args:
        method: the method that is being trained.
        curve: lifter steps and mean loss, one point an epoch.
    """
    change = relative_change([s for s, _ in curve], [loss for _, loss in curve])
    figures = {
        "lifter_steps": float(method.lifter_steps),
        "source_poses": float(method.poses_seen[0]),
        "augmented_poses": float(method.poses_seen[1]),
        "generator_steps": float(sum(n for name, n in method.network_steps.items() if "generator" in name)),
    }
    return figures if change is None else figures | {"loss_change_last_fifth_percent": change}
