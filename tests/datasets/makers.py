"""Small files in each data set's own format, of people who really move. A new data set adds its maker here."""

import numpy as np
import torch

from dg.datasets import h36m
from dg.datasets.synthetic import Options, Synthetic
from dg.datasets.synthetic_activities import act
from dg.datasets.synthetic_kinematics import pose_body, stand_on_floor, within_limits
from dg.datasets.synthetic_people import draw_people

ACTIONS = {"Walking": "walk", "Walking 1": "walk", "Sitting": "sit", "Phoning": "phone", "WalkDog": "bend"}
FRAMES = 12
FPS = 10


def h36m_motion(subjects=("S1", "S5", "S6", "S7", "S8", "S9", "S11"), frames=FRAMES) -> dict:
    """{subject: {action: [frames, 32, 3]}} with the joints that do not move left at zero."""
    generator = torch.Generator().manual_seed(3)
    motion = {}
    for subject in subjects:
        motion[subject] = {}
        offsets = draw_people(1, generator)
        for action, activity in ACTIONS.items():
            angles = within_limits(act(activity, 1, torch.arange(frames) / FPS, generator))
            joints = np.zeros((frames, 32, 3), np.float32)
            joints[:, list(h36m.MOVING_JOINTS)] = stand_on_floor(pose_body(angles, offsets))[0].numpy()
            motion[subject][action] = joints
    return motion


def write_h36m(path, motion) -> None:
    np.savez_compressed(path, positions_3d=np.array(motion, dtype=object))


def cross_arrays() -> dict[str, np.ndarray]:
    """The arrays of a cross-dataset file: ten takes seen by portrait cameras."""
    data = Synthetic(Options("near", clips=12, frames=6)).load("test")
    camera = data.poses.camera
    return {
        "pose3d": data.poses.joints_3d[:, 0].numpy(),
        "pose2d": data.poses.joints_2d[:, 0].numpy(),
        "intrinsics": torch.cat([camera.focal, camera.center], -1).numpy(),
        "res": np.tile([1080, 1920], (len(data), 1)),
        "subject": np.array([f"p{n}" for n in data.subject.tolist()]),
        "clip": np.array([f"take {n}" for n in data.clip.tolist()]),
    }


def make_h36m(folder) -> dict:
    write_h36m(folder / h36m.FILE, h36m_motion())
    return {"root": str(folder)}


def make_npz(folder) -> dict:
    np.savez_compressed(folder / "close_people.npz", **cross_arrays())
    return {"path": str(folder / "close_people.npz")}


def make_synthetic(folder) -> dict:
    return {"clips": 20, "frames": 10}


# data set -> a function that writes what it needs into a folder and returns its options.
MAKERS = {"h36m": make_h36m, "npz": make_npz, "synthetic": make_synthetic}
