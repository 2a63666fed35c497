"""Fit3D's folder of JSON files."""

import copy
import json

import numpy as np
import pytest
import torch

from dg.datasets.base import DataError
from dg.datasets.fit3d import Fit3D, Options
from dg.pose.skeleton import H36M_17
from dg.settings.plugins import make_options
from tests.datasets.fit3d_maker import CAMERAS, EXERCISES, fit3d_cameras, fit3d_motion, write_fit3d
from tests.datasets.motion import FRAMES


@pytest.fixture(scope="module")
def motion():
    return fit3d_motion()


@pytest.fixture
def root(tmp_path, motion):
    write_fit3d(tmp_path / "train", motion, fit3d_cameras())
    return tmp_path


def test_joints_and_pixels_follow_the_data_sets_own_camera_model(root, motion):
    """x_cam = R (x - T); the tangential pair is used in reverse order, as in Human3.6M's original code."""
    data = Fit3D(Options(str(root), stride=1)).load("test")
    world = motion["s10"]["squat"][:, :17].astype(np.float64)
    camera = fit3d_cameras()[CAMERAS[1]]
    seen = (world - np.array(camera["extrinsics"]["T"])) @ np.array(camera["extrinsics"]["R"]).T
    inside = {name: np.array(value)[0] for name, value in camera["intrinsics_w_distortion"].items()}
    ratio, swapped = seen[..., :2] / seen[..., 2:], inside["p"][::-1]
    r2 = (ratio**2).sum(-1, keepdims=True)
    k1, k2, k3 = inside["k"]
    bent = ratio * (1 + k1 * r2 + k2 * r2**2 + k3 * r2**3 + (ratio @ swapped)[..., None]) + r2 * swapped
    pixels = inside["f"] * bent + inside["c"]
    clip = sorted(EXERCISES).index("squat") * len(CAMERAS) + 1
    rows = data.clip == clip
    assert data.actions[int(data.action[rows][0])] == "squat"
    np.testing.assert_allclose(data.poses.joints_3d[rows, 0], seen, atol=1e-5)
    np.testing.assert_allclose((data.poses.joints_2d[rows, 0] + 1) * 450, pixels, atol=1e-2)


def test_the_split_is_auglifts_and_validation_keeps_whole_exercises(root):
    splits = {split: Fit3D(Options(str(root))).load(split) for split in ("train", "val", "test")}
    assert splits["test"].subjects == ("s10", "s11")
    assert splits["train"].subjects == splits["val"].subjects == ("s03", "s04", "s05", "s07", "s08", "s09")
    frames = sum(len(splits[s]) for s in ("train", "val"))
    assert frames == 6 * len(EXERCISES) * len(CAMERAS) * FRAMES // 2
    assert len(splits["val"]) == 6 * len(CAMERAS) * FRAMES // 2
    assert splits["test"].fps == 25.0


def test_any_of_the_folders_around_the_subjects_may_be_named(root):
    assert Fit3D(Options(str(root))).load("test").digest == Fit3D(Options(str(root / "train"))).load("test").digest


def test_options_are_checked():
    for wrong in ({"subjects_test": ()}, {"subjects_test": ("s03",)}, {"stride": 0}, {"size_px": 0}):
        with pytest.raises(ValueError, match="must"):
            make_options(Fit3D, "data", "fit3d", {"root": "x"} | wrong)


JOINTS, CAMERA = "s10/joints3d_25/squat.json", f"s10/camera_parameters/{CAMERAS[0]}/squat.json"


def text(content):
    return lambda path: path.write_text(content)


def joints(change):
    def write(path):
        held = json.loads(path.read_text())
        path.write_text(json.dumps({"joints3d_25": change(np.array(held["joints3d_25"])).tolist()}))

    return write


def camera(section, name, value):
    def write(path):
        content = copy.deepcopy(fit3d_cameras()[CAMERAS[0]])
        content[section] |= {name: value}
        path.write_text(json.dumps({k: {n: v for n, v in part.items() if v != "drop"} for k, part in content.items()}))

    return write


def poke(values, row, value):
    values[row] = value
    return values


INSIDE, OUTSIDE = "intrinsics_w_distortion", "extrinsics"
MALFORMED = {
    "empty file": (JOINTS, text(""), "empty"),
    "web page": (JOINTS, text("<html>"), "JSON"),
    "truncated": (JOINTS, lambda path: path.write_text(path.read_text()[:1000]), "truncated"),
    "binary": (JOINTS, lambda path: path.write_bytes(b"\x80\x04\x95\xff"), "another kind"),
    "nested too deeply": (JOINTS, text("[" * 100_000), "nested too deep"),
    "wrong key": (JOINTS, text('{"joints": []}'), "joints3d_25"),
    "a list": (JOINTS, text("[1, 2]"), "list"),
    "24 joints": (JOINTS, joints(lambda j: j[:, :24]), "25, 3"),
    "no frames": (JOINTS, text('{"joints3d_25": []}'), "25, 3"),
    "ragged": (JOINTS, text('{"joints3d_25": [[[1, 2, 3]], [[1, 2]]]}'), "regular"),
    "text": (JOINTS, text('{"joints3d_25": [["a"]]}'), "numbers"),
    "NaN": (JOINTS, joints(lambda j: poke(j, (2, 3), np.nan)), "finite"),
    "millimetres": (JOINTS, joints(lambda j: 1000 * j), "millimetres"),
    "joint missing": (JOINTS, joints(lambda j: poke(j, (slice(None), 10), 0.0)), "head"),
    "no such camera": (CAMERA, lambda path: [p.unlink() for p in path.parent.parent.glob("*/squat.json")], "CAMERA"),
    "camera is a web page": (CAMERA, text("<html>"), "JSON"),
    "camera without R": (CAMERA, camera(OUTSIDE, "R", "drop"), "'R'"),
    "R of another shape": (CAMERA, camera(OUTSIDE, "R", [[1.0, 0.0], [0.0, 1.0]]), "3, 3"),
    "R mirrors": (CAMERA, camera(OUTSIDE, "R", [[1.0, 0, 0], [0, 1, 0], [0, 0, -1]]), "no rotation"),
    "two distortion numbers": (CAMERA, camera(INSIDE, "k", [[0.1, 0.2]]), "2, 2, 3 and 2"),
    "NaN focal length": (CAMERA, camera(INSIDE, "f", [[float("nan"), 1.0]]), "finite"),
    "normalised intrinsics": (CAMERA, camera(INSIDE, "c", [[0.1, -0.2]]), "pixels"),
}


@pytest.mark.parametrize(("file", "spoil", "reason"), MALFORMED.values(), ids=MALFORMED)
def test_malformed_files_are_one_clear_error(root, file, spoil, reason):
    spoil(root / "train" / file)
    with pytest.raises(DataError, match=reason) as caught:
        Fit3D(Options(str(root))).load("test")
    assert "squat.json" in str(caught.value)


def test_missing_folders_and_people_are_named(root, tmp_path):
    with pytest.raises(DataError, match="its test part has no 3D"):
        Fit3D(Options(str(tmp_path / "nowhere"))).load("test")
    with pytest.raises(DataError, match=r"s99.*s03"):
        Fit3D(Options(str(root), subjects_test=("s99",))).load("test")


def test_swapped_legs_are_found_by_the_check(root, motion):
    """Sources disagree about which leg comes first; if a file has the left one, the check must say so."""
    from dg.datasets.findings import findings

    order = [0, 4, 5, 6, 1, 2, 3, *range(7, 17)]
    data = Fit3D(Options(str(root), stride=1)).load("test")
    assert not findings(data).problems
    swapped = {s: {e: j[:, [*order, *range(17, 25)]] for e, j in motion[s].items()} for s in motion}
    write_fit3d(root / "train", swapped, fit3d_cameras())
    problems = findings(Fit3D(Options(str(root), stride=1)).load("test")).problems
    assert any("left and right" in problem for problem in problems)
    assert torch.equal(
        data.poses.joints_3d[:1, 0, order], Fit3D(Options(str(root), stride=1)).load("test").poses.joints_3d[:1, 0]
    )
    assert len(H36M_17) == len(order)
