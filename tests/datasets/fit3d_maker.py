"""Fit3D's folder of JSON files, of the synthetic people seen by cameras that stand around them."""

import json

import torch

from dg.datasets import h36m_cameras
from dg.datasets.fit3d import KNOWN_SUBJECTS
from dg.datasets.h36m import MOVING_JOINTS
from dg.pose.rotation import rotation_from_quaternion
from tests.datasets.motion import h36m_motion

EXERCISES = {"squat": "Sitting", "march": "Walking", "bow": "WalkDog"}
CAMERAS = ("50591643", "65906101")
INTRINSICS = {
    "f": [[1039.0, 1035.0]],
    "c": [[456.4, 449.0]],
    "k": [[-0.145, 0.112, 0.0034]],
    "p": [[-0.0072, 0.0062]],
}


def fit3d_motion() -> dict:
    """{subject: {exercise: [frames, 25, 3]}}, world frame; the points of feet and hands repeat ankles and wrists."""
    stand_ins = dict(zip(("S1", "S5", "S6", "S7", "S8", "S9", "S11", "S2"), KNOWN_SUBJECTS, strict=True))
    motion = h36m_motion(tuple(stand_ins))
    ends = [3, 3, 6, 6, 13, 13, 16, 16]
    moving = {s: {a: motion[s][a][:, list(MOVING_JOINTS)] for a in motion[s]} for s in motion}
    return {stand_ins[s]: {e: moving[s][a][:, [*range(17), *ends]] for e, a in EXERCISES.items()} for s in stand_ins}


def fit3d_cameras() -> dict:
    """{camera: content of its file}: two of Human3.6M's places with Fit3D's intrinsics."""
    cameras = {}
    for name, (orientation, position) in zip(CAMERAS, h36m_cameras.EXTRINSICS["S1"], strict=False):
        rotation = rotation_from_quaternion(torch.tensor(orientation, dtype=torch.float64)).T
        plain = {"f": INTRINSICS["f"], "c": INTRINSICS["c"]}
        cameras[name] = {
            "extrinsics": {"R": rotation.tolist(), "T": [list(position)]},
            "intrinsics_w_distortion": INTRINSICS,
            "intrinsics_wo_distortion": plain,
        }
    return cameras


def write_fit3d(folder, motion, cameras) -> None:
    for subject, exercises in motion.items():
        for exercise, joints in exercises.items():
            _write(folder / subject / "joints3d_25" / f"{exercise}.json", {"joints3d_25": joints.tolist()})
            for camera, content in cameras.items():
                _write(folder / subject / "camera_parameters" / camera / f"{exercise}.json", content)


def _write(path, content) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def make_fit3d(folder) -> dict:
    write_fit3d(folder / "train", fit3d_motion(), fit3d_cameras())
    return {"root": str(folder), "stride": 1}
