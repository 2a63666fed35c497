"""MPI-INF-3DHP's test set in small: its own folder, SPIN's file and PoseAug's, all of the same people."""

from functools import cache

import h5py
import numpy as np
import torch
from scipy.io import savemat

from dg.datasets.mpi_inf_3dhp_cameras import CALIBRATIONS, SEQUENCES
from dg.datasets.synthetic import Options, Synthetic
from dg.pose.joint_map import joint_map
from dg.pose.skeleton import H36M_16, H36M_17, MPI_INF_3DHP_17, MPI_INF_3DHP_28, SPIN_24

FRAMES = 120  # of each sequence: more than the hundred that one protocol cuts off
VALID_STEP = 3
TRAIN_FRAMES = 40  # of each sequence of the training part
UNIVERSAL = 0.9  # size of `univ_annot3` against `annot3`


@cache
def people() -> list[np.ndarray]:
    """`[FRAMES, 17, 3]` metres for each sequence, Human3.6M's order, in front of its camera."""
    joints = Synthetic(Options("near", clips=14, frames=FRAMES // 2)).load("test").poses.joints_3d[:, 0].double()
    wander = torch.linspace(-0.4, 0.4, len(joints), dtype=torch.float64)
    place = torch.stack([wander, 0.1 + 0 * wander, 4.5 + wander], -1)
    placed = (joints - joints[:, :1] + place[:, None]).numpy()
    return [placed[FRAMES * n : FRAMES * (n + 1)] for n in range(len(SEQUENCES))]


def project(joints: np.ndarray, sequence: int) -> np.ndarray:
    """Pixels of the sequence's calibrated camera."""
    camera = CALIBRATIONS[sequence]
    return joints[..., :2] / joints[..., 2:] * np.array(camera.focal) + np.array(camera.center)


def as_raw(values: np.ndarray) -> np.ndarray:
    """Human3.6M's 17 in the raw file's order."""
    back = joint_map(MPI_INF_3DHP_17, H36M_17).T.double().numpy()
    return back @ values


def sequence_arrays(sequence: int) -> dict[str, np.ndarray]:
    """What `annot_data.mat` holds, in the shapes in which h5py shows them."""
    metric = as_raw(people()[sequence])
    frames = len(metric)
    return {
        "annot2": project(metric, sequence)[:, None],
        "annot3": 1000 * metric[:, None],
        "univ_annot3": 1000 * UNIVERSAL * metric[:, None],
        "valid_frame": (np.arange(frames) % VALID_STEP == 0).astype(float)[:, None],
        "activity_annotation": np.where(np.arange(frames) < frames // 2, 1.0, 3.0)[:, None],
        "bb_crop": np.zeros((frames, 4)),
    }


def write_sequence(path, arrays) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, values in arrays.items():
            file.create_dataset(name, data=values, compression="gzip" if np.ndim(values) > 1 else None)


def write_folder(folder) -> None:
    for number, name in enumerate(SEQUENCES):
        write_sequence(folder / name / "annot_data.mat", sequence_arrays(number))


def valid_frames() -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Root-relative universal joints, pixels and image names of the frames marked valid."""
    joints, pixels, names = [], [], []
    for number, name in enumerate(SEQUENCES):
        kept = np.arange(0, FRAMES, VALID_STEP)
        metric = people()[number][kept]
        joints.append(UNIVERSAL * (metric - metric[:, :1]))
        pixels.append(project(metric, number))
        names += [f"mpi_inf_3dhp_test_set/{name}/imageSequence/img_{frame + 1:06d}.jpg" for frame in kept]
    return np.concatenate(joints), np.concatenate(pixels), names


def spin_arrays() -> dict[str, np.ndarray]:
    joints, pixels, names = valid_frames()
    back = joint_map(SPIN_24, H36M_17).T.double().numpy()
    known = np.broadcast_to(back.sum(1)[None, :, None], (len(joints), len(SPIN_24), 1))
    return {
        "imgname": np.array(names),
        "center": pixels.mean(1),
        "scale": np.ones(len(joints)),
        "part": np.concatenate([back @ pixels, known], -1),
        "S": np.concatenate([back @ joints, known], -1),
    }


def poseaug_arrays() -> dict[str, np.ndarray]:
    joints, pixels, names = valid_frames()
    size = np.array([CALIBRATIONS[SEQUENCES.index(name.split("/")[1])].size for name in names])[:, None]
    chosen = joint_map(H36M_17, H36M_16).double().numpy()
    return {"pose3d": chosen @ joints, "pose2d": chosen @ ((2 * pixels - size) / size[..., :1])}


def training_cells(subject: int, sequence: int, skeleton=MPI_INF_3DHP_28) -> dict[str, np.ndarray]:
    """What `annot.mat` holds: fourteen cameras, which stand a little apart and have focal lengths of their own."""
    first = _trained_on()
    start = ((subject - 1) * 2 + sequence - 1) * TRAIN_FRAMES
    joints = first[start : start + TRAIN_FRAMES]
    joints = joints - joints[:, :1] + torch.tensor([0.0, 0.1, 4.0], dtype=torch.float64)
    back = _placed_as(skeleton)
    cells = {name: np.empty((14, 1), object) for name in ("annot2", "annot3", "univ_annot3")}
    for camera in range(14):
        own = back @ (joints + torch.tensor([0.02 * camera, 0.0, 0.1 * camera])).numpy()
        focal, center = 1490.0 + camera, 1024.0 + camera
        cells["annot2"][camera, 0] = (own[..., :2] / own[..., 2:] * focal + center).reshape(len(own), -1)
        cells["annot3"][camera, 0] = 1000 * own.reshape(len(own), -1)
        cells["univ_annot3"][camera, 0] = 1000 * UNIVERSAL * own.reshape(len(own), -1)
    return cells


@cache
def _trained_on() -> torch.Tensor:
    return Synthetic(Options("source", clips=20, frames=TRAIN_FRAMES)).load("train").poses.joints_3d[:, 0].double()


def _placed_as(skeleton) -> np.ndarray:
    """Human3.6M's 17 in the order of a file; points without a counterpart lie on the pelvis."""
    back = joint_map(skeleton, H36M_17).T.double().numpy()
    back[back.sum(1) == 0, 0] = 1.0
    return back


def write_training(folder, subjects=range(1, 9), skeleton=MPI_INF_3DHP_28) -> None:
    for subject in subjects:
        for sequence in (1, 2):
            path = folder / f"S{subject}" / f"Seq{sequence}" / "annot.mat"
            path.parent.mkdir(parents=True, exist_ok=True)
            savemat(path, training_cells(subject, sequence, skeleton))


def make_mpi_inf_3dhp(folder) -> dict:
    write_folder(folder)
    write_training(folder)
    return {"root": str(folder)}
