"""Synthetic people who really move, as Human3.6M's file stores them; makers of other formats start from here."""

from copy import deepcopy
from functools import cache

import numpy as np
import torch

from dg.datasets import h36m
from dg.datasets.synthetic_activities import act
from dg.datasets.synthetic_kinematics import pose_body, stand_on_floor, within_limits
from dg.datasets.synthetic_people import draw_people
from dg.pose.skeleton import COCO_17, H36M_17

ACTIONS = {"Walking": "walk", "Walking 1": "walk", "Sitting": "sit", "Phoning": "phone", "WalkDog": "bend"}
FRAMES = 12
FPS = 10


def h36m_motion(subjects=("S1", "S5", "S6", "S7", "S8", "S9", "S11"), frames=FRAMES) -> dict:
    """{subject: {action: [frames, 32, 3]}} with the joints that do not move left at zero."""
    return deepcopy(_motion(subjects, frames))


@cache
def _motion(subjects: tuple[str, ...], frames: int) -> dict:
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


def as_coco(joints: np.ndarray) -> np.ndarray:
    """Human3.6M's joints in COCO's order: the face lies where the head is, the other twelve have the same names."""
    names = {joint: joint for joint in COCO_17.joints if joint in H36M_17.joints} | {"nose": "neck"}
    return joints[:, [H36M_17.index(names.get(joint, "head")) for joint in COCO_17.joints]]
