"""Optimiser steps whose gradient is not a number are left out and counted; ten in a row end the run (SYSTEMS 7.1, R9).

One such step would make every weight not a number for ever.
"""

import torch
from jaxtyping import Bool
from torch import Tensor

from dg.pose.batch import PoseBatch
from dg.settings.errors import DIVERGED

PATIENCE = 10


class DivergedError(RuntimeError):
    """Training does not give numbers any more. Exit code 5."""

    exit_code = DIVERGED


class FiniteSteps:
    """skipped: steps left out so far, of all networks of a run. in_a_row: of each network, since its last good step."""

    def __init__(self) -> None:
        self.skipped = 0
        self.in_a_row: dict[str, int] = {}

    def allows(self, network: str, norm: Tensor) -> bool:
        """Tell whether a network may step along gradients of this norm.

        Args:
            network: name of the network.
            norm: norm of its gradients; one that is not finite forbids the step.

        Returns:
            True where the network may step.

        Raises:
            DivergedError: when it may not for the `PATIENCE`th time in a row.
        """
        if bool(torch.isfinite(norm)):
            self.in_a_row[network] = 0
            return True
        self.skipped += 1
        self.in_a_row[network] = self.in_a_row.get(network, 0) + 1
        if self.in_a_row[network] >= PATIENCE:
            raise DivergedError(
                f"the gradient of {network} is not a number, {PATIENCE} steps in a row; lower lr, or look at the data "
                "that the batch below came from"
            )
        return False

    def state_dict(self) -> dict[str, object]:
        """Return the counts for a checkpoint."""
        return {"skipped": self.skipped, "in_a_row": dict(self.in_a_row)}

    def load_state_dict(self, state: dict) -> None:
        """Restore the counts from what `state_dict` returned."""
        self.skipped, self.in_a_row = state["skipped"], dict(state["in_a_row"])


def finite_rows(poses: PoseBatch) -> Bool[Tensor, " batch"]:
    """Whether all that a lifter would be given or asked of a row is finite."""
    parts = [poses.joints_3d, poses.joints_2d, poses.depth, poses.depth_spread, poses.confidence]
    return torch.stack([part.flatten(1).isfinite().all(1) for part in parts if part is not None]).all(0)
