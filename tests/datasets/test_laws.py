"""The laws that are checked whenever data are loaded: what they refuse, what they only say, and that they are quiet."""

import json
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from dg import evaluate, train
from dg.datasets import DATASETS
from dg.datasets.base import DataError, PoseDataset
from dg.datasets.h36m import Human36M
from dg.datasets.h36m import Options as H36MOptions
from dg.datasets.laws import SAMPLE, breaches, examined, line
from dg.datasets.npz import CrossDataset
from dg.datasets.npz import Options as NpzOptions
from dg.datasets.synthetic import Options, Synthetic
from dg.settings.command_line import parse
from dg.settings.config import ConfigError
from dg.settings.plugins import make_options, resolve
from tests.datasets.makers import MAKERS, cross_arrays
from tests.trained.makers import store

FLIP = [0, 4, 5, 6, 1, 2, 3, 7, 8, 9, 10, 14, 15, 16, 11, 12, 13]


@pytest.fixture(scope="module")
def sound() -> PoseDataset:
    return Synthetic(Options("near", clips=12, frames=6)).load("test")


def with_joints(data: PoseDataset, change) -> PoseDataset:
    joints = change(data.poses.joints_3d.clone())
    return replace(data, poses=data.poses.replace(joints_3d=joints, joints_2d=data.poses.camera.project(joints)))


def at(row, joint, value):
    def change(joints):
        joints[row, :, joint] = joints[row, :, value] if isinstance(value, int) else value
        return joints

    return change


MIRROR = torch.tensor([-1.0, 1.0, 1.0])
GRAVE = {
    "y up": (lambda j: j * torch.tensor([1.0, -1.0, 1.0]), "does y point up"),
    "mirrored": (lambda j: j * MIRROR, "left and right"),
    "sides swapped": (lambda j: j[:, :, FLIP], "left and right"),
    "half of the rows mirrored": (lambda j: torch.cat([j[: len(j) // 2] * MIRROR, j[len(j) // 2 :]]), "left and right"),
    "millimetres": (lambda j: j * 1000, "units: expected metres"),
    "centimetres": (lambda j: j * 100, "units: expected metres"),
    "root-relative": (lambda j: j - j[:, :, :1], "behind the camera"),
    "z backwards": (lambda j: j * torch.tensor([1.0, 1.0, -1.0]), "behind the camera"),
    "one joint on its parent": (at(17, 3, 2), r"1 of 60 have a bone of no length.*\(first: row 17, right_ankle"),
    "one joint far away": (at(8, 13, torch.tensor([5.0, 0.0, 9.0])), "1 of 60 have a bone longer than 1.5 m"),
    "one NaN": (at(23, 5, torch.full((3,), torch.nan)), "3D: NaN or infinity in 1 rows, first row 23"),
}


@pytest.mark.parametrize("fault", GRAVE)
def test_a_grave_fault_is_refused_unless_asked_to_go_on(sound, fault):
    change, words = GRAVE[fault]
    spoilt = with_joints(sound, change)
    with pytest.raises(DataError, match=words) as refused:
        examined(spoilt, "people")
    assert str(refused.value).endswith("data.checks=warn goes on")
    assert "people" in str(refused.value)
    told = line({"people": examined(spoilt, "people", "warn").notes["checks"]})
    assert told.startswith("data checks: people: ")
    assert len(told.splitlines()) == 1


def test_what_may_have_a_reason_is_only_said(sound):
    longer = sound.poses.joints_3d.clone()
    longer[:, :, 13] += 0.7 * (longer[:, :, 13] - longer[:, :, 12])
    odd = replace(sound, poses=sound.poses.replace(joints_3d=longer))
    assert "bone to the wrist" in examined(odd, "people").notes["checks"]
    beside = replace(sound, poses=sound.poses.replace(joints_2d=sound.poses.joints_2d + 0.02))
    assert "2D: expected the projection" in examined(beside, "people").notes["checks"]
    confident = replace(sound, poses=sound.poses.replace(confidence=torch.full((len(sound), 1, 17), 80.0)))
    assert [b.text for b in breaches(confident)] == ["confidence: expected 0 to 1, found 80 to 80"]


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_sound_data_of_every_kind_are_fine(tmp_path, name):
    plugin = resolve(DATASETS, "data set", name)
    dataset = plugin(make_options(plugin, "data", name, MAKERS[name](tmp_path)))
    found = {split: examined(dataset.load(split), split).notes["checks"] for split in dataset.splits}
    assert line(found) == f"data checks: fine: {', '.join(dataset.splits)}"


@pytest.mark.parametrize("domain", ["source", "near", "wide"])
def test_synthetic_data_of_any_seed_are_fine(domain):
    for seed in range(2):
        data = Synthetic(Options(domain, clips=12, frames=6, seed=seed))
        assert [breaches(data.load(split)) for split in data.splits] == [[], [], []]


def test_a_sample_finds_what_all_rows_find_and_single_poses_are_looked_at_one_by_one(sound):
    many = torch.arange(len(sound)).repeat(2)
    big = replace(sound, poses=sound.poses[many])
    assert breaches(with_joints(big, lambda j: j * MIRROR), most=50) != []
    (found,) = breaches(with_joints(big, at(61, 3, 2)), most=30)
    assert "row 61" in found.text


@pytest.mark.shared
def test_real_motion_is_fine_and_looking_costs_little(shared):
    for path in sorted((shared / "data" / "cross").glob("*.npz")):
        assert breaches(CrossDataset(NpzOptions(str(path))).load("test"), SAMPLE) == [], path.name
    begun = time.process_time()
    data = Human36M(H36MOptions(str(shared / "data" / "cmu" / "data_3d_h36m.npz"), fps=30)).load("train")
    loading, begun = time.process_time() - begun, time.process_time()
    assert breaches(data, SAMPLE) == []
    assert time.process_time() - begun < 0.5 * loading


# -- in a run


def test_the_key_is_spelled_as_one_of_the_data_and_belongs_to_the_run():
    assert parse([]).data_checks == "refuse"
    assert parse(["data.checks=warn", "data.clips=4"]).data_checks == "warn"
    assert parse(["data.checks=warn"]).digest() == parse([]).digest()
    with pytest.raises(ConfigError, match="data_checks must be one of"):
        parse(["data.checks=off"])


def mirrored_file(folder) -> str:
    sign = np.array([-1, 1, 1], np.float32)
    arrays = cross_arrays()
    arrays |= {"pose3d": arrays["pose3d"] * sign, "pose2d": arrays["pose2d"] * sign[:2]}
    np.savez(folder / "mirrored.npz", **arrays)
    return f"targets=[npz:{folder}/mirrored.npz]"


def test_training_refuses_a_mirrored_target_or_says_so_and_stores_it(tmp_path, capsys):
    words = ["pool=local", "tracking.uri=off", "data.clips=4", "data.frames=20", "batch_size=32", "lifter.width=8",
             "epochs=1", "device=cpu", "threads=1", "method=erm", "inputs=xy", f"out={tmp_path}/run",
             mirrored_file(tmp_path)]  # fmt: skip
    assert train.main(words) == 4
    assert "left and right" in capsys.readouterr().err
    assert not (tmp_path / "run" / "summary.json").exists()
    assert train.main([*words, "data.checks=warn"]) == 0
    shown = capsys.readouterr().out
    assert sum("data checks: fine: train, val · mirrored: left and right" in text for text in shown.splitlines()) == 1
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["data_checks"].keys() == {"train", "val", "mirrored"}
    assert summary["data_checks"]["mirrored"].startswith("left and right")
    assert all(summary["data"].values())


def test_evaluation_refuses_it_too(tmp_path, capsys):
    path, _ = store(tmp_path, "inputs=xy", "lifter.width=16", "lifter.blocks=1")
    words = [str(path), mirrored_file(tmp_path), "tracking.uri=off", f"out={tmp_path}/result.json"]
    assert evaluate.main(words) == 4
    assert "data.checks=warn goes on" in capsys.readouterr().err
    assert evaluate.main([*words, "data.checks=warn"]) == 0
    assert "data checks: mirrored: left and right" in " ".join(capsys.readouterr().out.split())
    assert json.loads((tmp_path / "result.json").read_text())["data_checks"]["mirrored"].startswith("left and right")
