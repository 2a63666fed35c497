"""SMPL as its authors wrote it: shape and pose blend shapes, then linear blend skinning (Loper et al., 2015).

What data sets need of it are joints alone: SMPL's own, and those that a matrix takes from the surface. Both the surface
and such a matrix are linear in the skinning transforms and in the pose blend shapes, so the matrix is folded into them
once and no vertex is made: 17 joints take 24 x 17 small products a frame and not 6,890 skinned vertices.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dg.body.smpl_file import BodyFileError, load_fields, numbers_of, read_smpl
from dg.pose.rotation import rotation_from_axis_angle
from dg.pose.skeleton import SMPL_24

POSE_SHAPES = 9 * (len(SMPL_24) - 1)
FRAMES_AT_A_TIME = 2048  # 10 MB of blend shapes for 17 joints


@dataclass(frozen=True)
class SMPLModel:
    """A model file's arrays, float64, metres, SMPL's axes (y up, facing +z, x to the body's left)."""

    vertices: Float[Tensor, "vertices 3"]
    shapes: Float[Tensor, "vertices 3 betas"]
    pose_shapes: Float[Tensor, "vertices 3 terms"]
    joint_regressor: Float[Tensor, "24 vertices"]
    weights: Float[Tensor, "vertices 24"]


def read_smpl_model(path: str | Path) -> SMPLModel:
    """Read an SMPL model with its blend shapes; raise BodyFileError for a file that is not a complete one."""
    plain = read_smpl(path)
    fields, count = load_fields(Path(path)), len(plain.vertices)
    missing = [key for key in ("shapedirs", "posedirs", "J_regressor") if key not in fields]
    if missing:
        raise BodyFileError(f"{path}: expected SMPL with its blend shapes, but {missing} are missing")
    shapes = numbers_of(path, "shapedirs", fields["shapedirs"])
    if shapes.ndim != 3 or shapes.shape[:2] != (count, 3) or not shapes.shape[2]:
        raise BodyFileError(f"{path}: shapedirs must have shape ({count}, 3, betas), got {shapes.shape}")
    arrays = (
        plain.vertices,
        shapes,
        numbers_of(path, "posedirs", fields["posedirs"], (count, 3, POSE_SHAPES)),
        numbers_of(path, "J_regressor", fields["J_regressor"], (len(SMPL_24), count)),
        plain.weights,
    )
    return SMPLModel(*[torch.from_numpy(np.ascontiguousarray(values)) for values in arrays])


class SurfaceJoints:
    """Joints of a posed and shaped SMPL body: its own 24, and those that a matrix takes from its vertices."""

    def __init__(self, model: SMPLModel, regressor: Float[Tensor, "joints vertices"]) -> None:
        """Raises ValueError for a matrix made for another number of vertices."""
        if regressor.shape[1] != len(model.vertices):
            raise ValueError(f"expected a matrix of {len(model.vertices)} vertices, got {regressor.shape[1]}")
        self.model = model
        # Row j, joint k: how much of the body that joint k carries is in joint j.
        carried = regressor.double()[:, None, :] * model.weights.T
        self.share = carried.sum(-1)
        self.carried = carried.flatten(0, 1)
        self.pose_terms = (self.carried @ model.pose_shapes.flatten(1)).unflatten(1, (3, POSE_SHAPES))

    def rest(self, betas: Float[Tensor, " betas"]) -> Float[Tensor, "vertices 3"]:
        """Return the surface at rest, metres; raise ValueError where betas beyond those of the file are not zero."""
        known = self.model.shapes.shape[2]
        if (betas[known:] != 0).any():
            raise ValueError(f"expected at most {known} shape parameters, got {len(betas)}")
        return self.model.vertices + self.model.shapes[..., : len(betas)] @ betas[:known].double()

    @torch.no_grad()
    def of(
        self,
        poses: Float[Tensor, "frames 24 3"],
        betas: Float[Tensor, " betas"],
        place: Float[Tensor, "frames 3"],
    ) -> tuple[Float[Tensor, "frames 24 3"], Float[Tensor, "frames joints 3"]]:
        """Compute joints of the posed and shaped body.

        Args:
            poses: axis-angles of the 24 joints relative to their parents, radians.
            betas: shape parameters; those beyond the file's must be zero.
            place: SMPL's `trans`, metres.

        Returns:
            SMPL's 24 joints and the matrix's joints, float64, metres, in the frame of the first joint's rotation.

        Raises:
            ValueError: for more shape parameters than the file has.
        """
        surface = self.rest(betas)
        rest = self.model.joint_regressor @ surface
        carried = (self.carried @ surface).unflatten(0, self.share.shape) - self.share[..., None] * rest
        chunks = zip(poses.double().split(FRAMES_AT_A_TIME), place.double().split(FRAMES_AT_A_TIME), strict=True)
        parts = [self._chunk(rest, carried, turned, moved) for turned, moved in chunks]
        own, regressed = (torch.cat(part) for part in zip(*parts, strict=True))
        return own, regressed

    def _chunk(
        self,
        rest: Float[Tensor, "24 3"],
        carried: Float[Tensor, "joints 24 3"],
        poses: Float[Tensor, "frames 24 3"],
        place: Float[Tensor, "frames 3"],
    ) -> tuple[Float[Tensor, "frames 24 3"], Float[Tensor, "frames joints 3"]]:
        turns = rotation_from_axis_angle(poses)
        rotations, joints = pose_skeleton(rest, turns)
        joints = joints + place[:, None]
        bend = (turns[:, 1:] - torch.eye(3, dtype=turns.dtype)).flatten(1)
        local = carried + (bend @ self.pose_terms.flatten(0, 1).T).view(len(poses), *carried.shape)
        return joints, torch.einsum("nkab,njkb->nja", rotations, local) + self.share @ joints


def pose_skeleton(
    rest: Float[Tensor, "24 3"], turns: Float[Tensor, "frames 24 3 3"]
) -> tuple[Float[Tensor, "frames 24 3 3"], Float[Tensor, "frames 24 3"]]:
    """Rotate the joints of a skeleton at rest; each turns what hangs from it, and the pelvis stays where it rests.

    Args:
        rest: SMPL's 24 joints at rest, metres.
        turns: rotations of the joints relative to their parents.

    Returns:
        Global rotations and positions (metres) of the joints.
    """
    rotations: list[Tensor] = [turns[:, 0]] * len(SMPL_24)
    joints: list[Tensor] = [rest[0].expand(len(turns), 3)] * len(SMPL_24)
    for joint in SMPL_24.order[1:]:
        parent = SMPL_24.parents[joint]
        rotations[joint] = rotations[parent] @ turns[:, joint]
        joints[joint] = joints[parent] + rotations[parent] @ (rest[joint] - rest[parent])
    return torch.stack(rotations, 1), torch.stack(joints, 1)
