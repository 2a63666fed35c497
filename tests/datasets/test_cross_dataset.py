"""The cross-dataset file format."""

import numpy as np
import pytest
import torch

from dg.datasets.base import DataError
from dg.datasets.npz import CrossDataset, Options
from dg.pose.skeleton import H36M_16
from dg.settings.plugins import make_options
from tests.datasets.makers import cross_arrays
from tests.datasets.released_baseline import released_baseline

# p10-p90 of the root depth, metres, from the files' description.
DEPTHS = {"uiprmd_h36m": (4.7, 6.6), "uiprmd_3dhp": (3.9, 6.4), "uiprmd_3dpw": (2.7, 4.7)}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("cross") / "people.npz"
    np.savez(path, **cross_arrays())
    return str(path)


def test_the_file_is_read_as_it_is(path):
    data, arrays = CrossDataset(Options(path)).load("test"), cross_arrays()
    np.testing.assert_array_equal(data.poses.joints_3d[:, 0], arrays["pose3d"])
    np.testing.assert_array_equal(data.poses.joints_2d[:, 0], arrays["pose2d"])
    assert data.name == "people"
    assert [data.subjects[i] for i in data.subject.tolist()] == arrays["subject"].tolist()
    torch.testing.assert_close(data.poses.camera.extent[0], torch.tensor([1080 / 1920, 1.0]))


def test_stride_counts_over_the_whole_file_and_clips_stay_numbered_without_gaps(path):
    whole, strided = CrossDataset(Options(path)).load("test"), CrossDataset(Options(path, stride=4)).load("test")
    assert torch.equal(strided.poses.joints_3d, whole.poses.joints_3d[::4])
    runs = strided.clip.unique_consecutive()
    assert torch.equal(runs, torch.arange(len(runs)))
    assert len(CrossDataset(Options(path, stride=25)).load("test")) == -(-len(whole) // 25)


def test_a_target_is_named_with_its_options():
    assert CrossDataset.options_for_target("a/b.npz") == {"path": "a/b.npz"}
    given = CrossDataset.options_for_target("b.npz?stride=3&flip_tta=true")
    assert make_options(CrossDataset, "target", "npz", given) == Options("b.npz", stride=3, flip_tta=True)


@pytest.mark.parametrize("query", ["stride=x", "flip_tta=maybe", "sride=3", "stride=0"])
def test_a_target_with_wrong_options_is_refused_by_name(query):
    with pytest.raises(ValueError, match=query.split("=")[0]):
        make_options(CrossDataset, "target", "npz", CrossDataset.options_for_target(f"b.npz?{query}"))


def test_test_time_augmentation_is_part_of_the_protocol(path):
    plain, flipped = (CrossDataset(Options(path, flip_tta=f)).load("test").protocol("zbuffer") for f in (False, True))
    assert plain != flipped


@pytest.mark.shared
@pytest.mark.parametrize("name", sorted(DEPTHS))
def test_the_real_files_have_the_counts_and_depths_of_their_description(shared, name):
    data = CrossDataset(Options(str(shared / "data" / "cross" / f"{name}.npz"))).load("test")
    assert len(data) == 17_893
    assert len(data.subjects) == 10
    low, high = torch.quantile(data.poses.joints_3d[:, 0, 0, 2], torch.tensor([0.1, 0.9])).tolist()
    assert (low, high) == pytest.approx(DEPTHS[name], abs=0.06)


@pytest.mark.shared
def test_the_released_trained_lifter_scores_here_what_its_own_code_printed(shared):
    """Every third row of the file, joint 9 dropped, the mirrored prediction averaged in."""
    path = str(shared / "data" / "cross" / "uiprmd_3dhp.npz")
    poses = CrossDataset(Options(path, stride=3)).load("test").poses.convert(H36M_16)
    predict = released_baseline(shared)
    mirrored = predict(poses.flip().joints_2d)[:, list(H36M_16.flip)] * torch.tensor([-1.0, 1.0, 1.0])
    error = ((predict(poses.joints_2d) + mirrored) / 2 - poses.root_relative[:, 0]).norm(dim=-1)
    assert 1000 * float(error.double().mean()) == pytest.approx(166.680601, abs=1e-3)


def test_training_subjects_make_a_train_part_and_the_rest_is_tested(tmp_path):
    arrays = cross_arrays()
    np.savez(tmp_path / "people.npz", **arrays)
    names = sorted(set(arrays["subject"].tolist()))
    options = CrossDataset.options_for_target(f"{tmp_path}/people.npz?train_subjects={names[0]}+{names[1]}&stride=2")
    dataset = CrossDataset(make_options(CrossDataset, "target", "npz", options))
    train, test = dataset.load("train"), dataset.load("test")
    of = {int(n) for n in train.subject.unique()}
    assert {train.subjects[n] for n in of} == set(names[:2])
    assert not of & {int(n) for n in test.subject.unique()}
    assert len(train) + len(test) == -(-len(arrays["subject"]) // 2)
    with pytest.raises(DataError, match=f"some, not all, of the file's subjects .*{names[0]}"):
        CrossDataset(Options(str(tmp_path / "people.npz"), train_subjects=("nobody",))).load("train")


def only(*names):
    arrays = cross_arrays()
    return {name: arrays[name] for name in names}


def test_what_may_be_left_out_is_filled_in(tmp_path):
    """Joints and one camera for all are enough."""
    arrays = only("pose3d", "intrinsics")
    np.savez(tmp_path / "few.npz", pose3d=arrays["pose3d"], intrinsics=arrays["intrinsics"][0])
    data = CrossDataset(Options(str(tmp_path / "few.npz"))).load("test")
    torch.testing.assert_close(data.poses.joints_2d, data.poses.camera.project(data.poses.joints_3d))
    torch.testing.assert_close(data.poses.camera.extent, torch.ones(len(data), 2))
    assert (data.subjects, data.actions, data.clip.max()) == (("unknown",), ("all",), 0)
    assert data.poses.confidence is None


def test_rows_of_one_person_and_action_are_a_clip_where_clips_are_not_named(tmp_path):
    arrays = only("pose3d", "intrinsics")
    rows = len(arrays["pose3d"])
    subject = np.array(["a"] * 5 + ["b"] * (rows - 5))
    action = np.array(["walk"] * 2 + ["sit"] * 6 + ["walk"] * (rows - 8))
    np.savez(tmp_path / "some.npz", **arrays, subject=subject, action=action)
    data = CrossDataset(Options(str(tmp_path / "some.npz"))).load("test")
    assert data.clip.bincount().tolist() == [2, 3, 3, rows - 8]
    assert [data.actions[i] for i in data.action.tolist()] == action.tolist()


def test_detections_need_not_be_the_projection_and_may_have_a_confidence(tmp_path):
    arrays = cross_arrays()
    share = np.linspace(0, 1, arrays["pose3d"][..., 0].size).reshape(arrays["pose3d"].shape[:2])
    shifted = arrays | {"pose2d": arrays["pose2d"] + np.float32(0.01), "confidence": share}
    np.savez(tmp_path / "found.npz", **shifted)
    path = str(tmp_path / "found.npz")
    with pytest.raises(DataError, match="source_2d"):
        CrossDataset(Options(path)).load("test")
    data = CrossDataset(Options(path, source_2d="hrnet", stride=2)).load("test")
    np.testing.assert_allclose(data.poses.confidence[:, 0], share[::2], atol=1e-6)
    np.testing.assert_array_equal(data.poses.joints_2d[:, 0], shifted["pose2d"][::2])
    assert "2d=hrnet/" in data.protocol("none")
    np.savez(path, **(shifted | {"pose2d": shifted["pose2d"] * 500 + 500}))
    with pytest.raises(DataError, match="normalisation"):
        CrossDataset(Options(path, source_2d="hrnet")).load("test")


def test_names_that_are_objects_are_refused_with_how_to_save_them(tmp_path):
    names = np.array([f"p{n}" for n in range(len(cross_arrays()["pose3d"]))], dtype=object)
    np.savez(tmp_path / "objects.npz", **(cross_arrays() | {"subject": names}))
    with pytest.raises(DataError, match=r"'subject', found pickled.*dtype=str"):
        CrossDataset(Options(str(tmp_path / "objects.npz"))).load("test")
