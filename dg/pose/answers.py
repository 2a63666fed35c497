"""What a lifter answers: joints in metres, or in the image with depth in the image's scale (2.5-D), as MotionBERT does.

Zhu et al., "MotionBERT", ICCV 2023, and its released code (METHODS 6.6): x and y are where the pinhole sees a joint, z
is its depth behind the root in metres times f / Z of the root, all relative to the root; and all of it times a
constant, so that answers are of the size of metres. In the released unit, half an image's width, SimpleBaseline learned
far slower: 257 mm after 560 steps on CMU motion, against 174 with the constant and 169 with answers in metres (seed 0).
The authors bring answers back by the factor Z / f of the true root, and compare them with true joints that went through
image and factor as well. Here answers are taken along their rays, so that the true joints come back exactly, and are
compared with the joints as they are. Either way depth and place of the true root are used: an oracle.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from dg.pose.batch import PoseBatch
from dg.pose.input_spec import D_REF_M, F_REF

METRES = "metres"
_UNIT = D_REF_M / F_REF  # metres to half an image's width, for a person at the reference depth


def target_answers(poses: PoseBatch, frames: slice, answers: str) -> Float[Tensor, "batch frames joints 3"]:
    """Return what a lifter should answer for some frames of windows, relative to the root.

    Args:
        poses: the poses or windows.
        frames: which frames.
        answers: `metres`, or `image`: normalised image coordinates and depth in the same scale, times a constant.
    """
    if answers == METRES:
        return poses.root_relative[:, frames]
    joints, root, focal = _rooted(poses, frames)
    rays = joints[..., :2] / joints[..., 2:] - root[..., :2] / root[..., 2:]
    depth = (joints[..., 2:] - root[..., 2:]) / root[..., 2:]
    return _UNIT * torch.cat([rays * focal, depth * focal[..., :1]], -1)


def in_metres(
    found: Float[Tensor, "batch frames joints 3"], poses: PoseBatch, frames: slice, answers: str
) -> Float[Tensor, "batch frames joints 3"]:
    """Bring a lifter's answers to root-relative metres, by the true root where they are in the image.

    Args:
        found: the answers for these frames.
        poses: the poses or windows that were lifted.
        frames: which frames.
        answers: `metres` or `image`.
    """
    if answers == METRES:
        return found
    _, root, focal = _rooted(poses, frames)
    found = found / _UNIT
    z = root[..., 2:] * (1 + found[..., 2:] / focal[..., :1])
    rays = root[..., :2] / root[..., 2:] + found[..., :2] / focal
    return torch.cat([rays * z, z], -1) - root


def _rooted(poses: PoseBatch, frames: slice) -> tuple[Tensor, Tensor, Tensor]:
    """Joints, their root and the focal lengths, which fit each other's axes."""
    joints, root = poses.joints_3d[:, frames], poses.skeleton.root
    return joints, joints[..., root : root + 1, :], poses.camera.focal[:, None, None]
