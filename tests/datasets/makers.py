"""Small files in each data set's own format, of people who really move. A new data set adds its maker here."""

from functools import cache

import numpy as np
import torch

from dg.datasets import h36m
from dg.datasets.synthetic import Options, Synthetic
from tests.datasets.amass_maker import make_amass
from tests.datasets.cmu_maker import make_cmu
from tests.datasets.fit3d_maker import make_fit3d
from tests.datasets.motion import ACTIONS, FRAMES, h36m_motion, write_h36m
from tests.datasets.mpi_inf_3dhp_maker import make_mpi_inf_3dhp
from tests.datasets.posebench_maker import make_posebench
from tests.datasets.pw3d_maker import make_pw3d

__all__ = ["ACTIONS", "FRAMES", "MAKERS", "cross_arrays", "h36m_motion", "write_h36m"]


def cross_arrays() -> dict[str, np.ndarray]:
    """The arrays of a cross-dataset file: ten takes seen by portrait cameras."""
    return {name: values.copy() for name, values in _cross_arrays().items()}


@cache
def _cross_arrays() -> dict[str, np.ndarray]:
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
MAKERS = {
    "amass": make_amass,
    "cmu": make_cmu,
    "fit3d": make_fit3d,
    "h36m": make_h36m,
    "mpi_inf_3dhp": make_mpi_inf_3dhp,
    "npz": make_npz,
    "posebench": make_posebench,
    "pw3d": make_pw3d,
    "synthetic": make_synthetic,
}
