"""The box of a 2D pose, and poses rescaled to one box size (AugLift's scale normalisation with detected 2D).

METHODS 4.3: the symbols of the paper's algorithm are lost; its prose says that a skeleton is scaled by its box size
relative to the mean of the training set.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def box_size(joints_2d: Float[Tensor, "*batch joints 2"]) -> Float[Tensor, "*batch"]:
    """Return half of width plus height of the joints' box, in the joints' unit."""
    return (joints_2d.amax(-2) - joints_2d.amin(-2)).sum(-1) / 2


def crop_to_boxes(
    joints_2d: Float[Tensor, "*batch joints 2"], square: bool = False
) -> Float[Tensor, "*batch joints 2"]:
    """Express each pose in its own box, so that where the person stands, and how far away, is lost.

    PoseDA's "crop norm" and "square crop" (its Figure 5), with which it compares its alignment.

    Args:
        joints_2d: 2D joints in any unit.
        square: divide by the larger side, which keeps the aspect; else by each side.

    Returns:
        The joints in [-1, 1]; of a pose without extent along an axis zero.
    """
    low, high = joints_2d.amin(-2, keepdim=True), joints_2d.amax(-2, keepdim=True)
    half = (high - low) / 2
    half = half.amax(-1, keepdim=True) if square else half
    return (joints_2d - (low + high) / 2) / torch.where(half > 0, half, 1.0)


def rescale_boxes(joints_2d: Float[Tensor, "*batch joints 2"], size: float) -> Float[Tensor, "*batch joints 2"]:
    """Scale each pose about the mean of its joints until its box has a given size.

    Args:
        joints_2d: 2D joints in any unit.
        size: half of width plus height of the box, in the same unit.

    Returns:
        The scaled joints; a pose of one point stays as it is.
    """
    centroid = joints_2d.mean(-2, keepdim=True)
    before = box_size(joints_2d)
    scale = torch.where(before > 0, size / torch.where(before > 0, before, 1.0), 1.0)
    return centroid + scale[..., None, None] * (joints_2d - centroid)
