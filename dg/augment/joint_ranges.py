"""How far the joints of a set of poses reach, and whether other poses stay within a widened reach (CEE-Net, ours).

A joint's state is described by five numbers of the bone that it moves, none of which depends on the body's place,
orientation and bone lengths: the bone's components along the torso's axes (to the left, upwards, forwards), its cosine
to its parent bone, and the component of parent x bone along the torso's left, by which a knee differs from one that is
bent backwards.
"""

from math import sqrt

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from dg.augment.bone_angle import FROZEN
from dg.pose.bones import unit_bones
from dg.pose.devices import constant, pick
from dg.pose.skeleton import Skeleton

# Enough rows for a quantile; a long source is thinned evenly.
_MOST_ROWS = 65_536
# The poses beyond count as errors of measurement.
_TAIL = 0.005


def limb_bones(skeleton: Skeleton) -> list[tuple[int, int]]:
    """Return (bone, its parent bone) for every bone that moves against the torso: all but the torso's and the hips'."""
    at = {child: row for row, (_, child) in enumerate(skeleton.bones)}
    return [
        (row, at[parent])
        for row, (parent, child) in enumerate(skeleton.bones)
        if parent != skeleton.root and skeleton.joints[child] not in FROZEN
    ]


def joint_states(joints: Float[Tensor, "batch joints 3"], skeleton: Skeleton) -> Float[Tensor, "batch states"]:
    """Describe each bone of `limb_bones` by the five numbers of the module's docstring.

    Args:
        joints: poses, absolute or root-relative, metres.
        skeleton: the skeleton of the poses.

    Returns:
        Five numbers in [-1, 1] for each bone, one bone after the other.
    """
    units, _ = unit_bones(joints, skeleton)
    bones, parents = (constant(column, joints.device) for column in zip(*limb_bones(skeleton), strict=True))
    bone, parent = pick(units, bones, -2), pick(units, parents, -2)
    up = F.normalize(units[:, skeleton.bone("spine")] + units[:, skeleton.bone("thorax")], dim=-1)
    across = units[:, skeleton.bone("left_hip")] - units[:, skeleton.bone("right_hip")]
    left = F.normalize(across - (across * up).sum(-1, keepdim=True) * up, dim=-1)
    forward = torch.linalg.cross(left, up)
    along = bone @ torch.stack([left, up, forward], -1)
    bend = (bone * parent).sum(-1, keepdim=True)
    hinge = torch.linalg.cross(parent, bone) @ left[..., None]
    return torch.cat([along, bend, hinge], -1).flatten(1)


class JointRanges:
    """Reach and spread of the joint states of some poses, widened.

    extrapolation: the share of each state's range that is added at both ends, and by which the spread is to grow. The
    spread that is asked for never exceeds that of a uniform distribution over the widened range.
    """

    def __init__(self, joints: Float[Tensor, "poses joints 3"], skeleton: Skeleton, extrapolation: float) -> None:
        self.skeleton = skeleton
        states = joint_states(joints[:: max(1, -(-len(joints) // _MOST_ROWS))], skeleton)
        lowest, highest = torch.quantile(states, states.new_tensor([_TAIL, 1 - _TAIL]), dim=0)
        margin = extrapolation * (highest - lowest)
        self.lowest, self.highest = (lowest - margin).clamp_min(-1), (highest + margin).clamp_max(1)
        uniform = (self.highest - self.lowest) / sqrt(12)
        self.spread = ((1 + extrapolation) * states.std(0)).minimum(uniform)

    def to(self, device: torch.device) -> "JointRanges":
        """Move the ranges to a device in place, and return the object itself."""
        self.lowest, self.highest, self.spread = (t.to(device) for t in (self.lowest, self.highest, self.spread))
        return self

    def contain(self, joints: Float[Tensor, "batch joints 3"]) -> Bool[Tensor, " batch"]:
        """Return True for each pose all of whose joint states lie within the widened ranges."""
        states = joint_states(joints, self.skeleton)
        # Rounding must not throw out a straight limb, whose cosine is the limit itself.
        slack = 1e-5
        return ((states >= self.lowest - slack) & (states <= self.highest + slack)).all(-1)

    def losses(self, joints: Float[Tensor, "batch joints 3"]) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Return two losses that keep poses within the ranges and spread them.

        The first is the mean squared distance of the states to the widened ranges, the second that of the batch's
        spread to the requested one, where it is smaller.
        """
        states = joint_states(joints, self.skeleton)
        beyond = (states - self.highest).relu() + (self.lowest - states).relu()
        lacking = (self.spread - states.std(0)).relu()
        return beyond.square().mean(), lacking.square().mean()
