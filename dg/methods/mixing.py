"""How a lifter step takes source and augmented poses.

`batch`: half and half in every batch, as PoseDA trains (METHODS 3.2). `alternate`: a batch of each in turn, near to the
released PoseAug's separate passes. Batch norm sees one distribution in the first and two in the second, and is then
evaluated with statistics of their mean that it never normalised by.
"""

import torch
from torch import Tensor

from dg.pose.batch import PoseBatch

MIXINGS = ("batch", "alternate")


def check_mixing(mixing: str) -> None:
    """Raise ValueError for an unknown one."""
    if mixing not in MIXINGS:
        raise ValueError(f"mixing must be one of {list(MIXINGS)}, got {mixing!r}")


def mixed(augmented: PoseBatch, source: PoseBatch) -> PoseBatch:
    """Join augmented and source poses in one batch.

    Args:
        augmented: the augmented poses.
        source: the source poses; their confidence and range of depth are dropped where the augmented poses have none.

    Returns:
        One batch, augmented poses first.
    """
    changes: dict[str, Tensor | None] = {}
    if augmented.confidence is None and source.confidence is not None:
        changes["confidence"] = None
    if augmented.depth_spread is None and source.depth_spread is not None:
        changes["depth_spread"] = None
    if augmented.detection_error is not None and source.detection_error is None:
        # Depth came with images: the 2D of the source is the detection.
        changes["detection_error"] = torch.zeros_like(source.joints_2d)
    if changes:
        # What was usable is so without them.
        source = source.replace(**changes).knowing_as(source)
    return PoseBatch.concatenate([augmented, source])
