"""Proposals in flight: which of their rows are usable, and how a checkpoint carries them (`weights_only=True`)."""

from collections.abc import Sequence
from typing import Any

import torch

from dg.methods.base import StepKey
from dg.pose.batch import PoseBatch, finite_rows
from dg.pose.devices import fetch
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


class PendingRows:
    """A proposal that is not rendered, and on its way from the device which of its rows are usable.

    The lifter's batches are made of these rows, so the host has to know them; it asks when the proposal is made and
    looks when it is used, some batches later, instead of waiting then for all that was launched in between.
    """

    def __init__(self, poses: PoseBatch) -> None:
        self.poses = poses
        self._mask = fetch(poses.valid & finite_rows(poses))

    def result(self) -> PoseBatch:
        """The proposal, with its usable rows known."""
        mask = self._mask()
        rows = None if bool(mask.all()) else mask.nonzero()[:, 0]
        return self.poses.knowing(rows)
