"""The last step of a lifter: a row of numbers to joints, with the root set to zero or predicted like the others."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dg.pose.skeleton import Skeleton

Root = Literal["zero", "predicted"]


class JointOutput(nn.Module):
    """Reshapes `[batch, frames, size]` to `[batch, frames, joints, 3]`; root `zero`: `size` leaves the root out."""

    def __init__(self, skeleton: Skeleton, root: Root) -> None:
        super().__init__()
        self.root = skeleton.root if root == "zero" else None
        self.size = 3 * (len(skeleton) - (self.root is not None))

    def forward(self, values: Float[Tensor, "batch frames size"]) -> Float[Tensor, "batch frames joints 3"]:
        """Split the numbers into joints and, where the root is `zero`, insert it at the origin."""
        joints = values.unflatten(-1, (-1, 3))
        if self.root is None:
            return joints
        zero = torch.zeros_like(joints[..., :1, :])
        return torch.cat([joints[..., : self.root, :], zero, joints[..., self.root :, :]], -2)
