"""Poses of a target without its 3D: its 2D, lifted by the lifter as it was at one moment.

PoseDA's Tables 7 and C condition the generator, or anchor the critic, on target poses; the paper takes "the prediction
of the corresponding 2D pose by the pre-trained lifting network".
"""

from copy import deepcopy

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dg.methods.base import TargetPoses
from dg.pose.batch import PoseBatch
from dg.pose.input_spec import InputSpec
from dg.pose.skeleton import Skeleton
from dg.settings.errors import ConfigError
from lifters.base import Lifter


class LiftedTarget:
    """A copy of a lifter that lifts a target's 2D poses and is not trained itself.

    Args:
        lifter: whose copy is taken.
        inputs: of the lifter: 2D alone, for a target's 2D brings neither depth nor confidence with it.
        skeleton: of lifter and target.
        target: the 2D poses, on the lifter's device.

    Raises:
        ConfigError: the lifter needs more than 2D.
    """

    def __init__(self, lifter: Lifter, inputs: InputSpec, skeleton: Skeleton, target: TargetPoses) -> None:
        if inputs.channels != "xy" or inputs.needs_depth:
            raise ConfigError(
                "condition=target and real_3d=target lift the target's 2D, which has neither depth nor confidence; "
                f"give inputs=xy without depth for dscale2d, got inputs={inputs.channels} dscale2d={inputs.dscale2d}"
            )
        self.inputs, self.skeleton, self.target = inputs, skeleton, target
        self.lifter: nn.Module = deepcopy(lifter).requires_grad_(False).eval()

    def follow(self, lifter: Lifter) -> None:
        """Take a lifter's weights as they are now."""
        self.lifter.load_state_dict(lifter.state_dict())

    @torch.no_grad()
    def draw(self, rows: int, generator: torch.Generator) -> Float[Tensor, "rows joints 3"]:
        """Draw poses of the target with replacement.

        Args:
            rows: number of poses.
            generator: the random generator, on the device of the lifter.

        Returns:
            Root-relative joints in the camera frame, metres, as the lifter sees them.
        """
        flat, camera = self.target.draw(rows, generator)
        nowhere = flat.new_zeros(rows, 1, len(self.skeleton), 3)
        poses = PoseBatch.from_joints(nowhere, camera, self.skeleton, flat[:, None])
        return self.lifter.eval()(poses.features(self.inputs))[:, 0]
