"""A test set that was trained on is refused."""

from dataclasses import replace

import numpy as np
import pytest

from dg.datasets.base import DataError
from dg.datasets.overlap import check_unseen, shared_poses
from dg.settings.command_line import check_plugins, parse
from dg.training.problem import load_problem, load_target


@pytest.fixture(scope="module")
def near():
    return load_target("synthetic:near?clips=2&frames=20")


@pytest.fixture(scope="module")
def wide():
    return load_target("synthetic:wide?clips=2&frames=20")


def test_poses_of_another_set_are_not_shared_and_its_own_are(near, wide):
    assert shared_poses(near, wide) == 0
    assert shared_poses(near, near) == len(near)


def test_a_pose_that_moved_by_the_last_digit_is_another(near):
    moved = near.poses.joints_3d.clone()
    moved[:7, 0, 3, 1] *= 1 + 2e-7
    other = replace(near, poses=near.poses.replace(joints_3d=moved))
    assert shared_poses(near, other) == len(near) - 7


def test_training_poses_in_a_test_set_are_one_line_or_a_choice(near, wide):
    check_unseen(near, wide)
    with pytest.raises(DataError, match=r"test poses are training poses of .*bit for bit"):
        check_unseen(near, near)
    check_unseen(near, near, "warn")


def test_a_run_whose_target_is_its_training_part_is_refused(tmp_path, near):
    """Everyone in the file is tested on, and two of its people are trained on."""
    rows = len(near)
    people = np.array(["ann", "bob", "cid"])[np.arange(rows) * 3 // rows]
    clip = np.arange(rows) // 4
    camera = np.array([2.0, 2.0, 0.0, 0.0], np.float32)
    joints = near.poses.joints_3d[:, 0].numpy()
    np.savez(tmp_path / "set.npz", pose3d=joints, intrinsics=camera, subject=people, clip=clip, action=people)
    place = f"{tmp_path}/set.npz"
    words = [
        "data=npz", f"data.path={place}", "data.train_subjects=[ann,bob]", "data.validation=clips", "inputs=xy",
        "data.checks=refuse",
    ]  # fmt: skip
    known = parse([*words, f"targets=[npz:{place}?label=everyone]"])
    with pytest.raises(DataError, match=r"everyone: .*training poses"):
        load_problem(known, check_plugins(known))
    honest = parse([*words, f"targets=['npz:{place}?train_subjects=ann+bob&label=cid']"])
    assert len(load_problem(honest, check_plugins(honest)).targets[0]) == (people == "cid").sum()
