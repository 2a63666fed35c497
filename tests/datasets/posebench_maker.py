"""PoseBench3D's files in small: GPA's, 3DPW's, SURREAL's and Human3.6M's."""

import numpy as np

from dg.datasets.amass import AMASS
from dg.datasets.amass import Options as AMASSOptions
from dg.datasets.posebench import LAYOUTS
from dg.datasets.synthetic import Options, Synthetic
from dg.pose.skeleton import SMPL_24
from tests.datasets.amass_maker import write_amass
from tests.datasets.motion import h36m_motion


def _pixels(joints: np.ndarray, focal: float, size: tuple[int, int]) -> np.ndarray:
    return focal * joints[..., :2] / joints[..., 2:] + np.array(size) / 2


def gpa_part(split: str) -> dict[str, np.ndarray]:
    """34 joints, of which 17 are filled, mm, landscape."""
    joints = Synthetic(Options("near", clips=12, frames=6)).load(split).poses.joints_3d[:, 0].double().numpy()
    spread = np.tile(joints[:, :1], (1, 34, 1))
    spread[:, list(LAYOUTS["gpa"].select)] = joints
    return {"2d": _pixels(spread, 1000.0, (1920, 1080)).astype(np.float32), "3d": (1000 * spread).astype(np.float32)}


def smpl_poses(folder, shift: float = 0.0) -> np.ndarray:
    """SMPL-24 joints in front of a camera, metres."""
    write_amass(folder)
    data = AMASS(AMASSOptions(str(folder))).load("test")
    return data.poses.joints_3d[:, 0].double().numpy() + np.array([shift, 0, shift])


def pw3d_part(joints: np.ndarray) -> dict[str, np.ndarray]:
    """The first half portrait, the second landscape."""
    half = len(joints) // 2
    pixels = [_pixels(joints[:half], 1960.0, (1080, 1920)), _pixels(joints[half:], 1960.0, (1920, 1080))]
    return {"combined_2d": np.concatenate(pixels).astype(np.float32), "combined_3d_cam": joints.astype(np.float32)}


def surreal_arrays(joints: np.ndarray) -> dict[str, np.ndarray]:
    """Left and right swapped, mm, 320 x 240 px."""
    swapped = joints[:, list(SMPL_24.flip)]
    return {"data_2d": _pixels(swapped, 600.0, (320, 240)), "data_3d": 1000 * swapped}


def write_dict(path, content) -> None:
    np.savez_compressed(path, data=np.array(content, dtype=object))


def write_gpa(path) -> None:
    write_dict(path, {"size": [1920, 1080], "train": gpa_part("train"), "test": gpa_part("test")})


def write_pw3d(path, folder) -> None:
    joints = smpl_poses(folder)
    write_dict(path, {"train": pw3d_part(joints + np.array([0, 0, 0.5])), "test": pw3d_part(joints)})


def write_h36m_raw(path) -> None:
    motion = h36m_motion(("S1", "S5", "S9", "S11"))
    of = {s: {(int(s[1:]), a, a): 1000 * j for a, j in motion[s].items()} for s in motion}
    np.savez_compressed(
        path, trainset=np.array(of["S1"] | of["S5"], object), testset=np.array(of["S9"] | of["S11"], object)
    )


def make_posebench(folder) -> dict:
    write_pw3d(folder / "3dpw_wo_invalid.npz", folder / "bodies")
    return {"path": str(folder / "3dpw_wo_invalid.npz"), "kind": "3dpw"}
