"""Small files of MPII's two formats: struct arrays as MATLAB writes them, and HRNet's list of people."""

import json

import numpy as np
from scipy.io import savemat

from dg.files.mpii_file import MPII_JOINTS
from dg.pose.skeleton import H36M_17
from tests.conftest import STANDING_17


def mpii_people(count=6, seed=0) -> np.ndarray:
    """Standing people in pixels, each at another place and scale, arms and legs a little off."""
    rng = np.random.default_rng(seed)
    names = {joint: STANDING_17[H36M_17.index(joint)].numpy()[:2] for joint in H36M_17.joints}
    still = np.stack([names[joint] for joint in MPII_JOINTS])
    scale = rng.uniform(80, 300, (count, 1, 1))
    return still * scale + rng.uniform(400, 800, (count, 1, 2)) + rng.normal(0, 5, (count, 16, 2))


def struct(rows: list[dict]) -> np.ndarray:
    """A MATLAB struct array [1, rows]."""
    names = list(rows[0])
    array = np.empty((1, len(rows)), [(name, object) for name in names])
    for number, row in enumerate(rows):
        array[0, number] = tuple(row[name] for name in names)
    return array


def _person(joints, lost=()):
    points = [
        {"x": float(x), "y": float(y), "id": float(n), "is_visible": np.zeros((0, 0)) if n in (8, 9) else float(n % 2)}
        for n, (x, y) in enumerate(joints)
        if n not in lost
    ]
    # The release lists joints in no order.
    return struct([{"point": struct(points[::-1])}])


def write_mat(path, people: np.ndarray, lost=()) -> None:
    """The first image shows two people, the second nobody that was marked, each other one; `lost` of the last."""
    nobody = np.zeros((0, 0))
    marked = [_person(p, lost if n == len(people) - 1 else ()) for n, p in enumerate(people)]
    rects = [
        struct([{"x1": 1.0, "annopoints": m, "scale": 2.0} for m in marked[:2]]),
        struct([{"x1": 1.0, "annopoints": nobody, "scale": nobody}]),
        nobody,  # an image of the test part
        struct([{"x1": 1.0, "scale": 2.0, "objpos": struct([{"x": 1.0, "y": 2.0}])}]),
        *(struct([{"x1": 1.0, "annopoints": m, "scale": 2.0}]) for m in marked[2:]),
    ]
    images = [
        {"image": struct([{"name": f"{n:09d}.jpg"}]), "annorect": rect, "vididx": 1.0} for n, rect in enumerate(rects)
    ]
    release = {"annolist": struct(images), "img_train": np.ones((1, len(images))), "version": "12"}
    savemat(path, {"RELEASE": release}, do_compression=True)


def write_json(path, people: np.ndarray, lost=()) -> None:
    rows = []
    for number, joints in enumerate(people):
        seen = [0 if number == len(people) - 1 and n in lost else 1 for n in range(16)]
        rows.append({
            "joints_vis": seen, "joints": np.where(np.array(seen)[:, None] > 0, joints, 0).tolist(),
            "image": f"{number:09d}.jpg", "scale": 2.5, "center": [500.0, 400.0],
        })  # fmt: skip
    path.write_text(json.dumps(rows))


WRITERS = {".mat": write_mat, ".json": write_json}
