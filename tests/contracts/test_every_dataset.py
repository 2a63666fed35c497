"""What every data set in the table must satisfy; a new one is tested as soon as it is in the table and has a maker."""

import dataclasses
from itertools import combinations

import pytest
import torch

from dg.datasets import DATASETS
from dg.datasets.base import DataError, Dataset, PoseDataset
from dg.pose.bones import bone_lengths
from dg.pose.skeleton import H36M_17
from dg.settings.plugins import make_options, resolve
from dg.trained.places import OPTIONS
from tests.datasets.makers import MAKERS

# Metres, from the shortest bone of a child's hip to a tall person's shank, with room for marker-based joints.
HUMAN_BONE_M = (0.04, 0.60)


@pytest.fixture(scope="module", params=sorted(DATASETS))
def dataset(request, tmp_path_factory) -> Dataset:
    name = request.param
    assert name in MAKERS, f"add a maker for the data set {name!r} to tests/datasets/makers.py"
    plugin = resolve(DATASETS, "data set", name)
    return plugin(make_options(plugin, "data", name, MAKERS[name](tmp_path_factory.mktemp(name))))


@pytest.fixture(scope="module")
def loaded(dataset) -> dict[str, PoseDataset]:
    return {split: dataset.load(split) for split in dataset.splits}


def test_options_are_a_frozen_dataclass(dataset):
    assert isinstance(dataset, Dataset)
    assert dataclasses.is_dataclass(dataset.Options)
    assert dataset.Options.__dataclass_params__.frozen


TEXTS = {"domain", "label", "validation", "keypoints", "takes", "protocol", "gt", "intrinsics", "source_2d", "kind",
         "units", "normalise"}  # fmt: skip


def test_every_text_option_is_known_to_be_a_place_or_none(dataset):
    """A checkpoint must not choose what is opened (`dg.trained.places`)."""
    texts = {f.name for f in dataclasses.fields(dataset.Options) if f.type in (str, "str")}
    unknown = texts - TEXTS - set(OPTIONS["data"])
    assert not unknown, f"does it name a file? Then it belongs into OPTIONS of dg/trained/places.py: {sorted(unknown)}"


def test_every_row_is_described(loaded):
    for data in loaded.values():
        rows = len(data)
        assert data.poses.joints_3d.shape[1:3] == (1, len(data.poses.skeleton)), "one frame a row, frames on axis 1"
        assert data.subject.shape == data.action.shape == data.clip.shape == (rows,)
        for label, names in ((data.subject, data.subjects), (data.action, data.actions)):
            assert set(label.tolist()) <= set(range(len(names)))
        assert data.fps > 0
        assert all((data.name, data.digest))
        assert f"n{rows}" in data.protocol("zbuffer")
        assert torch.equal(data.poses.index, torch.arange(rows))


def test_rows_of_a_clip_are_consecutive_and_show_one_person_doing_one_thing(loaded):
    for data in loaded.values():
        runs = data.clip.unique_consecutive()
        assert torch.equal(runs, torch.arange(len(runs)))
        for label in (data.subject, data.action):
            assert len(torch.stack([data.clip, label], 1).unique(dim=0)) == len(runs)


def test_everyone_is_in_front_of_the_camera_and_in_the_frame(loaded):
    for data in loaded.values():
        assert (data.poses.joints_3d[..., 2] > 0.3).all()
        assert data.poses.valid.float().mean() > 0.95
        assert data.poses.joints_3d.isfinite().all()


def test_the_2d_is_the_projection_of_the_3d(loaded):
    for data in loaded.values():
        torch.testing.assert_close(
            data.poses.camera.project(data.poses.joints_3d), data.poses.joints_2d, atol=1e-4, rtol=0
        )


def test_bones_are_of_human_length_and_alike_on_both_sides(loaded):
    for data in loaded.values():
        lengths = bone_lengths(data.poses.joints_3d[:, 0], data.poses.skeleton).median(0).values
        assert ((lengths > HUMAN_BONE_M[0]) & (lengths < HUMAN_BONE_M[1])).all()
        torch.testing.assert_close(lengths, lengths[list(data.poses.skeleton.bone_flip)], rtol=0.1, atol=0.01)


def test_left_is_left(loaded):
    for data in loaded.values():
        joints = data.poses.convert(H36M_17).joints_3d[:, 0]
        at = {name: joints[:, i] for i, name in enumerate(H36M_17.joints)}
        for side in ("left", "right"):
            # A knee bends one way only, so thigh x shank points to the person's left, whatever the posture.
            thigh, shank = at[f"{side}_knee"] - at[f"{side}_hip"], at[f"{side}_ankle"] - at[f"{side}_knee"]
            hinge = torch.linalg.cross(thigh, shank) / (thigh.norm(dim=-1) * shank.norm(dim=-1))[:, None]
            bent = hinge.norm(dim=-1) > 0.4
            assert bent.sum() > 5, "no bent knees to tell left from right"
            for part in ("hip", "shoulder"):
                across = at[f"left_{part}"] - at[f"right_{part}"]
                assert ((across * hinge).sum(-1)[bent] > 0).float().mean() > 0.95, (side, part)


def test_people_stand_upright_in_the_image(loaded):
    for data in loaded.values():
        joints_2d = data.poses.convert(H36M_17).joints_2d[:, 0]
        head, ankles = joints_2d[:, H36M_17.index("head"), 1], joints_2d[:, [3, 6], 1].mean(-1)
        assert (head < ankles).float().mean() > 0.9, "y grows downwards"


def test_splits_share_no_clip_and_test_no_person(loaded):
    rows = {s: {tuple(r) for r in d.poses.joints_3d.flatten(1).tolist()} for s, d in loaded.items()}
    for one, other in combinations(loaded, 2):
        assert not rows[one] & rows[other], f"{one} and {other} share poses"
    for split in set(loaded) - {"test"}:
        assert not set(loaded[split].subjects) & set(loaded["test"].subjects)


def test_loading_twice_gives_the_same_data_and_digest(dataset, loaded):
    for split, data in loaded.items():
        again = dataset.load(split)
        assert again.digest == data.digest
        assert torch.equal(again.poses.joints_3d, data.poses.joints_3d)
    assert len({d.digest for d in loaded.values()}) == len(loaded)


def test_a_split_it_does_not_have_is_an_error_that_lists_those_it_has(dataset):
    with pytest.raises(DataError, match="test"):
        dataset.load("holdout")


def test_it_can_be_named_as_a_target(dataset):
    name = next(n for n in DATASETS if resolve(DATASETS, "data set", n) is type(dataset))
    options = type(dataset).options_for_target("near")
    made = make_options(type(dataset), "target", name, options)
    assert isinstance(made, type(dataset).Options)
    assert getattr(made, type(dataset).located_by) == "near"
