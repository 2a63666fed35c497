"""How far a joint lies behind the surface that a depth source sees: what stands in for a render of a moving pose.

Nothing is back-propagated through render or depth network. Where a generator needs the depth of a pose that was not
rendered, it is the pose's own z minus the offset last seen for it, else minus the joint's running mean (DESIGN 5.6).
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from dg.pose.batch import PoseBatch

_SLOWEST = 0.01


class SurfaceOffsets:
    """The running mean of z_joint - depth for each joint, metres."""

    def __init__(self, joints: int, device: torch.device | str = "cpu") -> None:
        self.mean = torch.zeros(joints, device=device)
        self.batches = torch.zeros((), device=device)

    def of(self, rendered: PoseBatch) -> Float[Tensor, "batch frames joints"]:
        """Return the offsets of a rendered batch, metres; rows that could not be rendered get the running mean."""
        assert rendered.depth is not None
        valid = rendered.valid[:, None, None]
        return torch.where(valid, rendered.joints_3d[..., 2] - rendered.depth, self.mean).detach()

    @torch.no_grad()
    def update(self, rendered: PoseBatch) -> None:
        """Take a rendered batch into the running mean; a plain mean of the first hundred batches."""
        offsets = torch.where(rendered.valid[:, None, None], self.of(rendered), 0.0)
        rows = rendered.valid.sum()
        mean = offsets.sum((0, 1)) / (rows * offsets.shape[1]).clamp_min(1)
        self.batches += (rows > 0).float()
        rate = (1 / self.batches.clamp_min(1)).clamp_min(_SLOWEST) * (rows > 0)
        self.mean += rate * (mean - self.mean)

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of the running mean and the number of batches in it, for a checkpoint."""
        return {"mean": self.mean.clone(), "batches": self.batches.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the running mean and the number of batches from what `state_dict` returned."""
        self.mean.copy_(state["mean"])
        self.batches.copy_(state["batches"])
