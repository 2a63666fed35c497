"""A body at rest: mesh, skinning weights and the 24 joints about which it is posed."""

import hashlib
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from dg.pose.skeleton import SMPL_24

# Bone along which a joint's skinning transform stretches, where it is not the bone to the joint's only child. The
# spine's links share the two trunk bones of Human3.6M, and the head continues the neck.
STRETCHED_BONE = {
    "pelvis": ("pelvis", "spine2"),
    "spine1": ("pelvis", "spine2"),
    "spine2": ("spine2", "neck"),
    "spine3": ("spine2", "neck"),
    "head": ("neck", "head"),
}


@dataclass(frozen=True)
class RestBody:
    """A body in SMPL's T-pose and axes (y up, facing +z, x to its left), metres.

    joints: SMPL's 24, with the three of `human36m_landmarks` moved. weights: of the skinning; each row sums to one.
    """

    vertices: Float[Tensor, "vertices 3"]
    faces: Int[Tensor, "faces 3"]
    joints: Float[Tensor, "24 3"]
    weights: Float[Tensor, "vertices 24"]

    def to(self, device: torch.device) -> "RestBody":
        """Return the same body with all arrays on a device."""
        return RestBody(*[getattr(self, f.name).to(device) for f in fields(self)])

    def digest(self) -> str:
        """Return a short hash of all arrays."""
        digest = hashlib.blake2b(digest_size=8)
        for f in fields(self):
            digest.update(np.ascontiguousarray(getattr(self, f.name).cpu().numpy()).tobytes())
        return digest.hexdigest()

    @cached_property
    def bones(self) -> Float[Tensor, "24 3"]:
        """The stretched bone of each joint (see `stretched_bone`); zero for toes and fingers."""
        tails, heads = zip(*map(stretched_bone, SMPL_24.joints), strict=True)
        return self.joints[list(heads)] - self.joints[list(tails)]

    @cached_property
    def axes(self) -> Float[Tensor, "24 3"]:
        """Unit direction along which each joint's transform stretches; zero for toes and fingers."""
        return torch.nn.functional.normalize(self.bones, dim=-1)


def stretched_bone(joint: str) -> tuple[int, int]:
    """Return the numbers of the two joints that the stretched bone of a joint joins.

    They are the joint itself twice where the skeleton ends.
    """
    if joint in STRETCHED_BONE:
        tail, head = STRETCHED_BONE[joint]
        return SMPL_24.index(tail), SMPL_24.index(head)
    tail = SMPL_24.index(joint)
    return tail, SMPL_24.parents.index(tail) if tail in SMPL_24.parents else tail


def human36m_landmarks(joints: Float[Tensor, "24 3"], vertices: Float[Tensor, "vertices 3"]) -> Float[Tensor, "24 3"]:
    """Move pelvis, neck and head to where motion capture in Human3.6M's convention has them.

    There the pelvis is the middle of the hips (SMPL's lies up to 9 cm above and behind it), the thorax lies 3 to 4 cm
    above the shoulders (SMPL's neck: about 9 cm), and the head near the top of the skull (SMPL's: its base). A body
    that is pinned to such joints has its surface in place around them; the trunk would be pushed forward and the neck
    stretched to twice its length otherwise. The choice is ours; METHODS 4.4 leaves it open.

    Args:
        joints: SMPL's 24 joints at rest, metres, y up.
        vertices: the body's vertices at rest, metres, y up.

    Returns:
        The joints with these three moved, metres.
    """
    hips = joints[[SMPL_24.index("left_hip"), SMPL_24.index("right_hip")]].mean(0)
    shoulders = joints[[SMPL_24.index("left_shoulder"), SMPL_24.index("right_shoulder")]].mean(0)
    neck, head = SMPL_24.index("neck"), SMPL_24.index("head")
    moved = joints.clone()
    moved[SMPL_24.index("pelvis")] = hips
    moved[neck] = shoulders + 0.4 * (joints[neck] - shoulders)
    # Three centimetres below the top: a joint that projects onto the silhouette's edge would read the background.
    moved[head, 1] = vertices[:, 1].max() - 0.03
    return moved
