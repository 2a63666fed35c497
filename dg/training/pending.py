"""Proposals in flight as plain tensors, so that a checkpoint can carry them and loads with `weights_only=True`."""

from collections.abc import Sequence
from typing import Any

import torch

from dg.methods.base import StepKey
from dg.pose.batch import PoseBatch
from dg.pose.skeleton import Skeleton


def save_pending(in_flight: Sequence[tuple[StepKey, PoseBatch | None]]) -> list[dict[str, Any]]:
    """One dictionary of tensors a proposal, with the number of its batch."""
    return [{"batch": key.batch, "poses": None if p is None else p.state_dict()} for key, p in in_flight]


def load_pending(
    saved: Sequence[dict[str, Any]], skeleton: Skeleton, device: torch.device
) -> list[tuple[int, PoseBatch | None]]:
    """Read back what `save_pending` made.

    Args:
        saved: one dictionary for each proposal.
        skeleton: of the poses.
        device: where the poses are put.

    Returns:
        The number of each proposal's batch, and its poses or None.
    """
    return [
        (s["batch"], None if s["poses"] is None else PoseBatch.from_state(s["poses"], skeleton).to(device))
        for s in saved
    ]
