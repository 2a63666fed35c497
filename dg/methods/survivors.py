"""Augmented poses that came back with depth, kept until they fill a batch.

A lifter step on the few survivors of one proposal would cost as much of the budget as one on a full batch; the released
PoseAug keeps them in a buffer for the same reason.
"""

from typing import Any

import torch

from dg.methods.mixing import check_mixing, mixed
from dg.pose.batch import PoseBatch
from dg.pose.skeleton import Skeleton


class Survivors:
    """A queue of augmented poses. mixing: see `dg.methods.mixing`."""

    def __init__(self, mixing: str, skeleton: Skeleton, device: torch.device) -> None:
        check_mixing(mixing)
        self.mixing, self.skeleton, self.device = mixing, skeleton, device
        self.waiting: PoseBatch | None = None

    def add(self, proposed: PoseBatch) -> None:
        """Take the usable rows."""
        kept = proposed.only_usable()
        self.waiting = kept if self.waiting is None else PoseBatch.concatenate([self.waiting, kept])

    def batches(self, source: PoseBatch) -> list[PoseBatch]:
        """Return the batches that the lifter trains on.

        They are the source batch alone or, once as many augmented poses wait, two batches of both kinds.
        """
        rows = len(source)
        if self.waiting is None or len(self.waiting) < rows:
            return [source]
        augmented, self.waiting = self.waiting[:rows], self.waiting[rows:]
        if self.mixing == "alternate":
            return [augmented, source]
        first, second = slice(0, rows // 2), slice(rows // 2, rows)
        return [mixed(augmented[half], source[half]) for half in (first, second)]

    def state_dict(self) -> dict[str, Any]:
        """Return the waiting poses for a checkpoint."""
        return {"waiting": None if self.waiting is None else self.waiting.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the waiting poses, on the method's device."""
        waiting = state["waiting"]
        self.waiting = None if waiting is None else PoseBatch.from_state(waiting, self.skeleton).to(self.device)
