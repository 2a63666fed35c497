"""The contract of a body, and BodyPose, which is all that is needed to skin one."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dg.pose.skeleton import Skeleton


@dataclass(frozen=True)
class BodyPose:
    """A posed body in the camera frame (OpenCV axes, metres), for each of SMPL's 24 joints.

    rotations: from the body's rest axes to the camera frame, global (not relative to the parent). positions: of the
    joints. stretch: factor along the rest direction of the bone that leaves the joint (1: none); for joints with
    several or no children it is what `Body.fit` documents.
    """

    rotations: Float[Tensor, "batch 24 3 3"]
    positions: Float[Tensor, "batch 24 3"]
    stretch: Float[Tensor, "batch 24"]

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, rows: Tensor | slice) -> "BodyPose":
        return BodyPose(*[getattr(self, f.name)[rows] for f in fields(self)])

    def to(self, *args: torch.device | torch.dtype | str) -> "BodyPose":
        """Move or convert all tensors as `Tensor.to` does."""
        return BodyPose(*[getattr(self, f.name).to(*args) for f in fields(self)])


class Body(ABC):
    """A body model.

    Attributes:
        Options: frozen dataclass, the command line's `body.*`.
        digest: changes with anything that changes a rendered depth; part of every cache key.
        uses_reference: whether `fit` looks at the poses before augmentation.
    """

    Options: ClassVar[type[Any]]
    faces: Int[Tensor, "faces 3"]
    digest: str
    uses_reference: bool = False

    @abstractmethod
    def fit(
        self,
        joints_3d: Float[Tensor, "batch joints 3"],
        skeleton: Skeleton,
        reference: Float[Tensor, "batch joints 3"] | None = None,
    ) -> BodyPose:
        """Pose the body analytically so that its joints follow the given ones (METHODS 4.4).

        Args:
            joints_3d: absolute joints in the camera frame, metres.
            skeleton: H36M-17 or H36M-16.
            reference: the poses of the same rows before augmentation, for bodies with `uses_reference`.

        Returns:
            The posed bodies in the camera frame.
        """

    @abstractmethod
    def skin(self, pose: BodyPose) -> Float[Tensor, "batch vertices 3"]:
        """Compute the vertices of posed bodies in the camera frame, metres."""
