"""Small AMASS files: SMPL parameters of people who bend their knees."""

import numpy as np

from dg.pose.skeleton import SMPL_24


def amass_arrays(phase: float = 0.0, frames: int = 24, width: int = 156) -> dict[str, np.ndarray]:
    """One motion, upright in a world whose z points up."""
    swing = np.sin(phase + np.arange(frames) / 6)
    poses = np.zeros((frames, width))
    # SMPL's rest pose is y up: a quarter turn about x stands it up.
    poses[:, 0] = np.pi / 2
    for side in ("left", "right"):
        at = 3 * SMPL_24.index(f"{side}_knee")
        poses[:, at] = 0.9 + 0.3 * swing
        at = 3 * SMPL_24.index(f"{side}_hip")
        poses[:, at] = -0.5 - 0.2 * swing
        at = 3 * SMPL_24.index(f"{side}_shoulder")
        poses[:, at + 2] = (-1.1 if side == "left" else 1.1) + 0.2 * swing
    trans = np.stack([0.05 * np.arange(frames) / 10 + phase, 0 * swing, 1.0 + 0.02 * swing], 1)
    return {
        "poses": poses,
        "trans": trans,
        "betas": np.zeros(16),
        "gender": np.array("female"),
        "mocap_framerate": np.array(60.0),
        "dmpls": np.zeros((frames, 8)),
    }


def write_amass(folder, people=("CMU/07", "CMU/16", "BMLmovi/Subject_1"), motions: int = 2) -> None:
    for number, person in enumerate(people):
        (folder / person).mkdir(parents=True, exist_ok=True)
        np.savez(folder / person / "shape.npz", betas=np.zeros(16))
        for motion in range(motions):
            np.savez(folder / person / f"{motion:02d}_poses.npz", **amass_arrays(number + motion / 3))


def make_amass(folder) -> dict:
    write_amass(folder)
    return {"root": str(folder), "subjects_train": ("CMU/07", "BMLmovi/Subject_1")}
