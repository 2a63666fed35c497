"""3DPW in small: sequences as Python 2 pickled them, a SMPL file with blend shapes, and a joint regressor."""

import pickle
import struct
from functools import cache

import numpy as np
import torch

from dg.body.open_body import load_open_body
from dg.body.smpl_model import POSE_SHAPES, SMPLModel, SurfaceJoints
from dg.datasets.pw3d_sequences import GENDERS
from dg.pose.joint_map import convert_joints
from dg.pose.skeleton import H36M_17, SMPL_24

FRAMES = 40
GAP = slice(10, 13)  # frames of the first person without a valid camera
SEQUENCES = {
    "train": ("courtyard_walk_00", "courtyard_walk_01"),
    "validation": ("outdoors_wave_00",),
    "test": ("downtown_cafe_00", "downtown_cafe_01", "office_phone_00"),
}
LYING = ("downtown_cafe_01",)
SIZES = {"m": 1.0, "f": 0.96}  # of the bodies
FOCAL = (1961.9, 1969.2)
# The regressor that circulates has the left leg before the right one.
LEFT_LEG_FIRST = [0, 4, 5, 6, 1, 2, 3, *range(7, 17)]


class Python2Pickler(pickle._Pickler):
    """Writes text and bytes as Python 2's strings."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_str2(self, value):
        raw = value if isinstance(value, bytes) else value.encode("latin1")
        self.write(pickle.BINSTRING + struct.pack("<i", len(raw)) + raw)

    dispatch[bytes] = dispatch[str] = save_str2


def write_pickle(path, content) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        Python2Pickler(stream, protocol=2).dump(content)


@cache
def smpl_fields() -> dict[str, np.ndarray]:
    """The open body in SMPL's format, with small made-up blend shapes."""
    rest, random = load_open_body(), np.random.default_rng(5)
    vertices = rest.vertices.double().numpy()
    # Taller, broader, and eight odd ones; smooth, as SMPL's are.
    grown = [vertices * np.array(axes) * 0.03 for axes in ((0.0, 1.0, 0.0), (1.0, 0.0, 1.0))]
    odd = [0.003 * np.sin(vertices @ random.normal(size=(3, 3)) * 3) for _ in range(8)]
    parents = np.array(SMPL_24.parents).astype(np.uint32)
    return {
        "v_template": vertices,
        "f": rest.faces.numpy().astype(np.uint32),
        "weights": rest.weights.double().numpy(),
        "J_regressor": weights_onto(vertices, rest.joints.double().numpy()),
        "kintree_table": np.stack([parents, np.arange(24, dtype=np.uint32)]),
        "shapedirs": np.stack([*grown, *odd], -1),
        "posedirs": random.normal(size=(len(vertices), 3, POSE_SHAPES)) * 1e-3,
    }


def weights_onto(vertices: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """A matrix whose rows sum to one and that takes the vertices, of which those nearby count, to the joints."""
    matrix = np.zeros((len(joints), len(vertices)))
    for row, joint in enumerate(joints):
        near = np.argsort(np.linalg.norm(vertices - joint, axis=1))[:60]
        known = np.concatenate([vertices[near], np.ones((len(near), 1))], 1)
        matrix[row, near] = np.append(joint, 1.0) @ np.linalg.pinv(known)
    return matrix


def write_smpl(folder) -> str:
    """SMPL_MALE.npz and SMPL_FEMALE.npz; returns the path with the gender left open."""
    for letter, gender in GENDERS.items():
        vertices = smpl_fields()["v_template"] * SIZES[letter]
        np.savez(folder / f"SMPL_{gender}.npz", **smpl_fields() | {"v_template": vertices})
    return str(folder / "SMPL_{gender}.npz")


def regressor(order=LEFT_LEG_FIRST) -> np.ndarray:
    fields = smpl_fields()
    vertices = fields["v_template"]
    joints = convert_joints(torch.from_numpy(fields["J_regressor"] @ vertices), SMPL_24, H36M_17).numpy()
    return weights_onto(vertices, joints)[order]


def model(gender: str) -> SMPLModel:
    fields = smpl_fields()
    names = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights")
    arrays = [torch.from_numpy(fields[name]) for name in names]
    return SMPLModel(arrays[0] * SIZES[gender], *arrays[1:])


def body_parameters(phase: float, frames: int = FRAMES) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Poses, betas and trans of someone who bends the knees, upright in a world whose y points up."""
    swing = np.sin(phase + np.arange(frames) / 6)
    poses = np.zeros((frames, 72))
    poses[:, 1] = 0.4 * np.sin(phase)
    for side, sign in (("left", 1), ("right", -1)):
        poses[:, 3 * SMPL_24.index(f"{side}_knee")] = 0.9 + 0.3 * swing
        poses[:, 3 * SMPL_24.index(f"{side}_hip")] = -0.5 - 0.2 * swing
        poses[:, 3 * SMPL_24.index(f"{side}_shoulder") + 2] = sign * (-1.1 + 0.2 * swing)
    place = np.stack([0.1 * swing + 0.2 * np.cos(phase), 0.02 * swing, 0.3 * np.sin(phase) + 0 * swing], 1)
    return poses, np.array([1.0, -0.5, 0.3, *np.zeros(7)]) * np.cos(phase), place


def sequence_content(name: str, seed: int) -> dict:
    """What one pickle holds; a camera at eye level, which moves."""
    turned = np.diag([1.0, -1.0, -1.0])
    motions = np.tile(np.eye(4), (FRAMES, 1, 1))
    motions[:, :3, :3] = turned
    motions[:, :3, 3] = -turned @ [0.0, 0.1, 4.5] + np.linspace(0, 0.1, FRAMES)[:, None]
    center = (960.0, 540.0) if name in LYING else (540.0, 960.0)
    genders = ["m", "f"]
    parameters = [body_parameters(seed + person) for person in range(2)]
    joints = [
        SurfaceJoints(model(gender), torch.zeros(1, 1229)).of(
            *[torch.from_numpy(v) for v in (poses.reshape(-1, 24, 3), betas, place)]
        )[0]
        for gender, (poses, betas, place) in zip(genders, parameters, strict=True)
    ]
    valid = [np.ones(FRAMES, np.uint8), np.ones(FRAMES, np.uint8)]
    valid[0][GAP] = 0
    return {
        "sequence": name,
        "genders": genders,
        "poses": [p[0] for p in parameters],
        "betas": [p[1] for p in parameters],
        "trans": [p[2] for p in parameters],
        "jointPositions": [j.flatten(1).numpy() for j in joints],
        "poses2d": [np.zeros((FRAMES, 3, 18)) for _ in genders],
        "campose_valid": valid,
        "cam_poses": motions,
        "cam_intrinsics": np.array([[FOCAL[0], 0.0, center[0]], [0.0, FOCAL[1], center[1]], [0.0, 0.0, 1.0]]),
        "img_frame_ids": np.arange(FRAMES),
        "texture_maps": [],
    }


def write_folder(folder) -> None:
    seed = 0
    for split, names in SEQUENCES.items():
        for name in names:
            seed += 1
            write_pickle(folder / "sequenceFiles" / split / f"{name}.pkl", sequence_content(name, seed))


def make_pw3d(folder) -> dict:
    write_folder(folder)
    return {"root": str(folder)}


def make_regressed(folder) -> dict:
    """Options of the J_regressor protocol."""
    write_folder(folder)
    np.save(folder / "J_regressor_h36m.npy", regressor())
    return {
        "root": str(folder),
        "protocol": "3DPW-jreg",
        "smpl": write_smpl(folder),
        "regressor": str(folder / "J_regressor_h36m.npy"),
    }
