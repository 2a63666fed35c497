"""Linear blend skinning with stretched bones, as one matrix product."""

import torch
from jaxtyping import Float
from torch import Tensor

from dg.body.base import BodyPose
from dg.body.rest import RestBody


def blend_matrix(rest: RestBody) -> Float[Tensor, "vertices terms"]:
    """Return W with `vertices = W @ transforms`: row v holds w_vk (v, 1) for each joint k, so `terms` is 24 * 4."""
    homogeneous = torch.cat([rest.vertices, torch.ones_like(rest.vertices[:, :1])], -1)
    return (rest.weights[:, :, None] * homogeneous[:, None]).flatten(1).contiguous()


def joint_transforms(
    pose: BodyPose, joints: Float[Tensor, "24 3"], axes: Float[Tensor, "24 3"]
) -> Float[Tensor, "batch 24 4 3"]:
    """Compute each joint's map of rest points: x -> R S (x - joint) + position.

    S stretches by `pose.stretch` along the joint's rest axis: R S = R + (s - 1) (R d) d^T.

    Args:
        pose: the posed bodies.
        joints: joints at rest, metres.
        axes: the joints' unit rest axes d.

    Returns:
        The maps as transposed 3 x 4 matrices.
    """
    rotations = pose.rotations
    along = (rotations * axes[:, None, :]).sum(-1)
    linear = rotations + ((pose.stretch - 1)[..., None] * along)[..., None] * axes[:, None, :]
    offset = pose.positions - (linear * joints[:, None, :]).sum(-1)
    return torch.cat([linear.transpose(-1, -2), offset[..., None, :]], -2)


def skin(
    pose: BodyPose,
    blend: Float[Tensor, "vertices terms"],
    joints: Float[Tensor, "24 3"],
    axes: Float[Tensor, "24 3"],
) -> Float[Tensor, "batch vertices 3"]:
    """Compute posed vertices: the weighted mean of where each joint's transform takes them.

    Args:
        pose: the posed bodies.
        blend: the matrix of `blend_matrix`.
        joints: joints at rest, metres.
        axes: the joints' unit rest axes.

    Returns:
        Vertices in the frame of the pose, metres.
    """
    # About the pelvis: five metres away, sums of as many terms would round to a micrometre.
    root = pose.positions[:, :1]
    transforms = joint_transforms(BodyPose(pose.rotations, pose.positions - root, pose.stretch), joints, axes)
    # One product over all poses; three columns a pose would be too narrow for the matrix kernels.
    rows = transforms.permute(0, 3, 1, 2).reshape(3 * len(pose), blend.shape[1])
    return ((rows @ blend.T).view(len(pose), 3, len(blend)).transpose(1, 2) + root).contiguous()
