"""The real SMPL body (Loper et al., "SMPL: A Skinned Multi-Person Linear Model", 2015), from the user's own file.

The file is licensed and comes from smpl.is.tue.mpg.de. Mean shape; pose-dependent blend shapes are left out, because
the mapping stretches bones, which they were not made for, and at 128 px they move the surface by less than a pixel.
Following AugLift-DG (METHODS 4.4) the mesh is decimated once, from 13,776 triangles to 3,000.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge
from scipy.spatial import KDTree

from dg.body.mesh_body import BoneScale, MeshBody
from dg.body.rest import RestBody, human36m_landmarks
from dg.body.smpl_file import SMPLFile, read_smpl


class SMPLBody(MeshBody):
    """SMPL, decimated. Raises BodyFileError when the file is not an SMPL model."""

    @dataclass(frozen=True)
    class Options:
        """path: `SMPL_NEUTRAL.pkl`, `.npz` or the male or female one. faces: triangles to keep.
        bone_scale: `absolute` (joints land on their targets) or `relative` (AugLift's paper); METHODS 4.4.
        """

        path: str
        faces: Annotated[int, Ge(200)] = 3000  # with fewer a body does not keep its limbs
        bone_scale: BoneScale = "absolute"

    def __init__(self, options: Options) -> None:
        super().__init__(decimated(read_smpl(options.path), options.faces), options.bone_scale)
        self.options = options


def decimated(model: SMPLFile, faces: int) -> RestBody:
    """Reduce a model at rest to fewer triangles.

    Args:
        model: the model as it was read.
        faces: the most triangles that are kept.

    Returns:
        The rest body; its joints are the full mesh's.
    """
    vertices, triangles, weights = model.vertices, model.faces, model.weights
    if len(triangles) > faces:
        vertices, triangles = _simplify(vertices, triangles, faces)
        weights = _carried(model, vertices)
    points = torch.from_numpy(vertices).float()
    return RestBody(
        vertices=points,
        faces=torch.from_numpy(triangles),
        joints=human36m_landmarks(torch.from_numpy(model.joints).float(), points),
        weights=torch.from_numpy(weights).float(),
    )


def _simplify(vertices: np.ndarray, triangles: np.ndarray, faces: int) -> tuple[np.ndarray, np.ndarray]:
    import trimesh  # here, because its import takes as long as the rest of the package

    mesh = trimesh.Trimesh(vertices, triangles, process=False).simplify_quadric_decimation(face_count=faces)
    return np.array(mesh.vertices, dtype=np.float64), np.array(mesh.faces, dtype=np.int64)


def _carried(model: SMPLFile, points: np.ndarray) -> np.ndarray:
    """Weights at new points: of the three nearest old vertices, by inverse distance."""
    distance, nearest = KDTree(model.vertices).query(points, k=3)
    share = 1 / (np.asarray(distance) + 1e-6)
    share /= share.sum(1, keepdims=True)
    return (share[..., None] * model.weights[nearest]).sum(1)
