"""The check of a data set finds what is wrong with it, and nothing in a sound one."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dg.datasets.base import PoseDataset
from dg.datasets.check import main
from dg.datasets.findings import findings
from dg.datasets.synthetic import Options, Synthetic
from dg.settings.errors import CONFIG, DATA, FAILED
from tests.datasets.makers import cross_arrays


@pytest.fixture(scope="module")
def sound() -> PoseDataset:
    return Synthetic(Options("near", clips=12, frames=6)).load("test")


def changed(data: PoseDataset, **changes) -> PoseDataset:
    return replace(data, poses=data.poses.replace(**changes))


def swapped(data):
    order = list(data.poses.skeleton.flip)
    return changed(data, joints_3d=data.poses.joints_3d[..., order, :], joints_2d=data.poses.joints_2d[..., order, :])


def mirrored(data):
    sign = torch.tensor([-1.0, 1.0, 1.0])
    return changed(data, joints_3d=data.poses.joints_3d * sign, joints_2d=data.poses.joints_2d * sign[:2])


def upside_down(data):
    sign = torch.tensor([1.0, -1.0, 1.0])
    return changed(data, joints_3d=data.poses.joints_3d * sign, joints_2d=data.poses.joints_2d * sign[:2])


def long_arm(data):
    joints = data.poses.joints_3d.clone()
    wrist, elbow = (data.poses.skeleton.index(f"left_{part}") for part in ("wrist", "elbow"))
    joints[:, :, wrist] += 0.7 * (joints[:, :, wrist] - joints[:, :, elbow])
    return changed(data, joints_3d=joints)


FAULTS = {
    "swapped sides": (swapped, "left and right"),
    "mirrored image": (mirrored, "left and right"),
    "y up": (upside_down, "axes: the head"),
    "millimetres": (lambda d: changed(d, joints_3d=d.poses.joints_3d * 1000), "units"),
    "root-relative": (lambda d: changed(d, joints_3d=d.poses.root_relative), "behind the camera"),
    "2D of other frames": (lambda d: changed(d, joints_2d=d.poses.joints_2d.roll(1, 0)), "2D"),
    "2D in other units": (lambda d: changed(d, joints_2d=d.poses.joints_2d * 1.2), "2D"),
    "one long forearm": (long_arm, "bone to the wrist"),
}


def test_a_sound_data_set_has_no_problems(sound):
    found = findings(sound)
    assert found.problems == []
    assert found.facts["poses"].startswith(f"{len(sound):,} in")
    assert set(map(len, found.bones.values())) == {1, 2}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_named(sound, fault):
    spoil, word = FAULTS[fault]
    assert any(word in problem for problem in findings(spoil(sound)).problems)


def test_detected_2d_may_lie_beside_the_projection(sound):
    noisy = sound.poses.joints_2d + 0.02 * torch.randn(sound.poses.joints_2d.shape)
    assert findings(replace(changed(sound, joints_2d=noisy), source_2d="cpn")).problems == []


def test_the_command_tells_its_verdict_by_its_exit_code(tmp_path, capsys):
    arrays = cross_arrays()
    np.savez(tmp_path / "sound.npz", **arrays)
    assert main(["npz", f"path={tmp_path}/sound.npz", "stride=2"]) == 0
    shown = capsys.readouterr().out
    assert "verdict: nothing looks wrong" in shown
    assert "bones" in shown
    order = [0, 4, 5, 6, 1, 2, 3, 7, 8, 9, 10, 14, 15, 16, 11, 12, 13]
    flipped = arrays | {name: arrays[name][:, order] for name in ("pose3d", "pose2d")}
    np.savez(tmp_path / "swapped.npz", **flipped)
    assert main(["npz", f"path={tmp_path}/swapped.npz"]) == FAILED
    assert "left and right" in capsys.readouterr().out
    assert main(["npz", f"path={tmp_path}/absent.npz"]) == DATA
    assert "absent.npz" in capsys.readouterr().err
    assert main(["npz", "pat=x"]) == CONFIG
    assert main(["nzp"]) == CONFIG
    assert "did you mean 'npz'" in capsys.readouterr().err
