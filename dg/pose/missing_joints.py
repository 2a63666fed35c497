"""Joints that were not found, put where their limb goes on, so that a lifter can be given numbers for all."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dg.pose.skeleton import Skeleton


def fill_along_limbs(
    joints_2d: Float[Tensor, "rows joints 2"], known: Bool[Tensor, "rows joints"], skeleton: Skeleton
) -> Float[Tensor, "rows joints 2"]:
    """Put each unknown joint at the next joint towards the root; an unknown root at the mean of what is known.

    Args:
        joints_2d: any unit; values of unknown joints are not read, and may be NaN.
        known: which joints were found.
        skeleton: of the joints.

    Returns:
        The joints, finite where a row has a known joint.
    """
    filled = torch.where(known[..., None], joints_2d, 0.0)
    centre = filled.sum(1) / known.sum(1).clamp_min(1)[:, None]
    for joint in skeleton.order:
        parent = skeleton.parents[joint]
        place = centre if parent < 0 else filled[:, parent]
        filled[:, joint] = torch.where(known[:, joint, None], filled[:, joint], place)
    return filled
