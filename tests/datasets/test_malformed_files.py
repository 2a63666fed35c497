"""Each malformed file gives one DataError that names the file and what is wrong with it."""

import numpy as np
import pytest

from dg.datasets.base import DataError
from dg.datasets.h36m import FILE, Human36M
from dg.datasets.h36m import Options as H36MOptions
from dg.datasets.npz import CrossDataset
from dg.datasets.npz import Options as CrossOptions
from tests.datasets.makers import cross_arrays, h36m_motion, write_h36m
from tests.datasets.malformed import Hostile, cut


def motion_with(change):
    """A writer of a Human3.6M file in which S9's Walking is replaced."""

    def write(path):
        motion = h36m_motion(frames=4)
        motion["S9"]["Walking"] = change(motion["S9"]["Walking"])
        write_h36m(path, motion)

    return write


def arrays_with(**changes):
    """A writer of a cross-dataset file in which arrays are replaced, or dropped (None)."""

    def write(path):
        arrays = cross_arrays()
        changed = {name: change(arrays[name]) if change else None for name, change in changes.items()}
        np.savez(path, **{k: v for k, v in (arrays | changed).items() if v is not None})

    return write


def poke(row, value):
    def change(values):
        values = values.copy()
        values[row] = value
        return values

    return change


def positions(value):
    return lambda path: np.savez(path, positions_3d=np.array(value, dtype=object))


H36M_FILES = {
    "missing": (lambda path: None, "no such file"),
    "directory": (lambda path: path.mkdir(), "directory"),
    "empty file": (lambda path: path.write_bytes(b""), "empty"),
    "web page": (lambda path: path.write_text("<html>"), "another kind"),
    "truncated": (cut(motion_with(lambda j: j)), "truncated"),
    "wrong key": (lambda path: np.savez(path, positions=np.ones(3)), "positions_3d"),
    "numbers": (lambda path: np.savez(path, positions_3d=np.ones((4, 32, 3))), "subject: {action"),
    "hostile": (positions(Hostile()), "print"),
    "hostile joint": (motion_with(lambda j: Hostile()), "print"),
    "not by action": (positions({"S9": np.ones((3, 32, 3)), "S11": {}}), "subject: {action"),
    "subject missing": (positions({"S9": {"Walking": np.ones((3, 32, 3))}}), "S11"),
    "17 joints": (motion_with(lambda j: j[:, :17]), r"\[rows, 32, 3\]"),
    "flat": (motion_with(lambda j: j[0]), r"\[rows, 32, 3\]"),
    "list": (motion_with(lambda j: j.tolist()), "list"),
    "text": (motion_with(lambda j: j.astype(str)), "numbers"),
    "no frames": (motion_with(lambda j: j[:0]), "at least one"),
    "NaN": (motion_with(poke((2, 1), np.nan)), "row 2"),
    "infinite": (motion_with(poke((0, 1), np.inf)), "row 0"),
    "millimetres": (motion_with(lambda j: 1000 * j), "millimetres"),
    "all zero": (motion_with(lambda j: 0 * j), "right_hip 0.000"),
    "joint missing": (motion_with(poke((slice(None), 15), 0.0)), "head"),
}
CROSS_FILES = {
    "missing": (lambda path: None, "no such file"),
    "directory": (lambda path: path.mkdir(), "directory"),
    "truncated": (cut(arrays_with(), 0.9), "truncated"),
    "key missing": (arrays_with(intrinsics=None), "intrinsics"),
    "16 joints": (arrays_with(pose3d=lambda p: p[:, :16]), "pose3d"),
    "no rows": (arrays_with(pose3d=lambda p: p[:0]), "at least one"),
    "scalar": (arrays_with(pose3d=lambda p: np.array(1.0)), "pose3d"),
    "rows differ": (arrays_with(clip=lambda c: c[1:]), "clip"),
    "2D rows differ": (arrays_with(pose2d=lambda p: p[1:]), "pose2d"),
    "NaN pose": (arrays_with(pose3d=poke((3, 2), np.nan)), "row 3"),
    "NaN 2D": (arrays_with(pose2d=poke((3, 2), np.nan)), "pose2d"),
    "NaN focal length": (arrays_with(intrinsics=poke((0, 0), np.nan)), "intrinsics"),
    "no focal length": (arrays_with(intrinsics=poke((0, 0), 0.0)), "positive"),
    "millimetres": (arrays_with(pose3d=lambda p: 1000 * p), "millimetres"),
    "behind the camera": (arrays_with(pose3d=lambda p: p - np.float32([0, 0, 9])), "behind"),
    "root-relative": (arrays_with(pose3d=lambda p: p - p[:, :1]), "behind"),
    "pixels": (arrays_with(pose2d=lambda p: 500 * p + 500), "normalisation"),
    "divided by width": (arrays_with(pose2d=lambda p: p * np.float32(1920 / 1080)), "divided by the width"),
    "interrupted clip": (
        arrays_with(clip=lambda c: c[::-1][np.argsort(np.arange(len(c)) % 2, kind="stable")]),
        "consecutive",
    ),
    "hostile": (arrays_with(subject=lambda s: np.array([Hostile()] * len(s), dtype=object)), "subject"),
}


def cases(table):
    return [pytest.param(write, reason, id=name) for name, (write, reason) in table.items()]


@pytest.mark.parametrize(("write", "reason"), cases(H36M_FILES))
def test_a_malformed_motion_file_is_one_clear_error(tmp_path, capsys, write, reason):
    path = tmp_path / FILE
    write(path)
    with pytest.raises(DataError, match=reason) as caught:
        Human36M(H36MOptions(str(path) if not path.is_dir() else str(tmp_path))).load("test")
    assert FILE in str(caught.value)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("write", "reason"), cases(CROSS_FILES))
def test_a_malformed_cross_dataset_file_is_one_clear_error(tmp_path, capsys, write, reason):
    path = tmp_path / "people.npz"
    write(path)
    with pytest.raises(DataError, match=reason) as caught:
        CrossDataset(CrossOptions(str(path))).load("test")
    assert "people.npz" in str(caught.value)
    assert capsys.readouterr().out == ""


def test_a_filter_that_leaves_nothing_lists_the_actions_there_are(tmp_path):
    write_h36m(tmp_path / FILE, h36m_motion(frames=4))
    with pytest.raises(DataError, match="Phoning"):
        Human36M(H36MOptions(str(tmp_path), actions=("Swimming",))).load("test")
