"""Human3.6M's file and cameras."""

import numpy as np
import pytest
import torch

from dg.datasets import h36m_cameras
from dg.datasets.h36m import FILE, MOVING_JOINTS, Human36M, Options
from dg.pose.camera import camera_to_world
from dg.pose.skeleton import H36M_16
from dg.settings.plugins import make_options
from tests.datasets.makers import ACTIONS, FRAMES, h36m_motion, write_h36m
from tests.datasets.released_baseline import released_baseline

CMU_FRAMES = {"S1": 39_999, "S5": 6_816, "S6": 3_094, "S7": 2_859, "S8": 6_630, "S9": 22_798, "S11": 10_799}
CMU_CLIPS = {"S1": 104, "S5": 39, "S6": 31, "S7": 47, "S8": 64, "S9": 61, "S11": 51}


@pytest.fixture(scope="module")
def motion():
    return h36m_motion()


@pytest.fixture(scope="module")
def root(motion, tmp_path_factory):
    folder = tmp_path_factory.mktemp("h36m")
    write_h36m(folder / FILE, motion)
    return str(folder)


def test_every_view_of_every_frame_leads_back_to_the_world(root, motion):
    data = Human36M(Options(root)).load("test")
    assert data.subjects == ("S9", "S11")
    assert len(data) == 2 * len(ACTIONS) * FRAMES * 4
    for clip in (0, 1, 7, 21):
        rows = data.clip == clip
        subject = data.subjects[int(data.subject[rows][0])]
        orientation, position = h36m_cameras.EXTRINSICS[subject][clip % 4]
        world = camera_to_world(data.poses.joints_3d[rows][:, 0], torch.tensor(orientation), torch.tensor(position))
        take = list(motion[subject].values())[clip // 4 % len(ACTIONS)]
        np.testing.assert_allclose(world, take[:, list(MOVING_JOINTS)], atol=1e-5)


def test_the_file_itself_may_be_named_instead_of_its_folder(root):
    assert Human36M(Options(f"{root}/{FILE}")).load("test").digest == Human36M(Options(root)).load("test").digest


def test_stride_keeps_every_kth_frame_of_each_clip_from_its_first(root):
    whole, strided = Human36M(Options(root)).load("test"), Human36M(Options(root, stride=5)).load("test")
    first = torch.cat([(whole.clip == c).nonzero()[::5, 0] for c in whole.clip.unique()])
    # Not bit for bit: a matrix product of fewer rows may add in another order.
    torch.testing.assert_close(strided.poses.joints_3d, whole.poses.joints_3d[first], atol=1e-6, rtol=0)
    assert strided.fps == whole.fps / 5


def test_validation_holds_out_clips_of_every_train_subject_with_all_four_cameras(root):
    train, val = (Human36M(Options(root)).load(split) for split in ("train", "val"))
    assert train.subjects == val.subjects == ("S1", "S5", "S6", "S7", "S8")
    assert len(train) + len(val) == 5 * len(ACTIONS) * FRAMES * 4
    assert len(val) == 5 * FRAMES * 4
    assert (val.clip.bincount() == FRAMES).all()


def test_a_clip_keeps_its_side_when_other_clips_are_absent(tmp_path, motion):
    def held_out(root):
        data = Human36M(Options(str(root), subjects_train=("S1",))).load("val")
        return {data.actions[i] for i in data.action.tolist()}

    write_h36m(tmp_path / "all.npz", motion)
    name = held_out(tmp_path / "all.npz")
    kept = {a: j for i, (a, j) in enumerate(motion["S1"].items()) if a.split(" ")[0] in name or i % 2}
    write_h36m(tmp_path / "few.npz", motion | {"S1": kept})
    assert held_out(tmp_path / "few.npz") == name


def test_a_subject_can_be_held_out_instead(root):
    options = Options(root, validation="S8")
    assert Human36M(options).load("val").subjects == ("S8",)
    assert Human36M(options).load("train").subjects == ("S1", "S5", "S6", "S7")


def test_actions_are_chosen_by_name_and_takes_of_one_action_belong_together(root):
    data = Human36M(Options(root, actions=("Walking",))).load("test")
    assert data.actions == ("Walking",)
    assert len(data.clip.unique()) == 2 * 2 * 4
    assert len(Human36M(Options(root, actions=("Walking 1",))).load("test").clip.unique()) == 2 * 4


@pytest.mark.parametrize(
    ("takes", "left_out"),
    [
        ("videopose3d", {("S11", "Directions")}),
        ("motionbert", {("S9", "Greeting"), ("S9", "SittingDown"), ("S9", "Waiting 1")}),
        ("auglift", {("S9", "Greeting"), ("S9", "SittingDown"), ("S9", "Waiting 1")}),
        ("all", set()),
    ],
)
def test_corrupt_takes_are_left_out_by_whose_list_is_named(tmp_path, motion, takes, left_out):
    names = ("Directions", "Directions 1", "Greeting", "Greeting 1", "SittingDown", "Waiting", "Waiting 1")
    some = motion["S9"]["Walking"]
    # A clip's number of frames tells which one it is.
    lengths = {(s, name): 2 + 10 * (s == "S9") + i for i, name in enumerate(names) for s in ("S9", "S11")}
    written = {s: {n: np.resize(some, (lengths[s, n], 32, 3)) for n in names} for s in ("S9", "S11")}
    write_h36m(tmp_path / FILE, motion | written)
    data = Human36M(Options(str(tmp_path), takes=takes)).load("test")
    kept = {frames for clip, frames in lengths.items() if clip not in left_out}
    assert set(data.clip.bincount().tolist()) == kept
    assert ("camera-frame/" in data.protocol("none")) == (takes == "videopose3d")
    for subject, action in left_out:
        assert f"{subject} {action}" in data.notes["corrupt_takes"]


def test_poses_out_of_frame_are_kept_and_counted_and_those_behind_the_camera_are_invalid(tmp_path, motion):
    away = {a: j + np.float32([0, 6.0, 0]) for a, j in motion["S9"].items()}
    write_h36m(tmp_path / FILE, motion | {"S9": away})
    data = Human36M(Options(str(tmp_path))).load("test")
    behind = (data.poses.joints_3d[..., 2] <= 0.3).flatten(1).any(1)
    assert behind.any()
    assert torch.equal(data.poses.valid, ~behind)
    assert data.notes["behind_camera"].startswith(f"{int(behind.sum())} poses")
    assert int(data.notes["out_of_frame"].split(" ")[0]) >= int(behind.sum())


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"subjects_train": ("S1", "S2")}, "S11"),
        ({"subjects_train": ("S1", "S9")}, "once"),
        ({"subjects_test": ()}, "among"),
        ({"validation": "S9"}, "clips"),
        ({"keypoints": "../cpn"}, "gt"),
        ({"takes": "mine"}, "motionbert"),
        ({"stride": 0}, "stride"),
    ],
)
def test_impossible_options_are_refused_with_the_possible_ones(wrong, reason):
    with pytest.raises(ValueError, match=reason):
        make_options(Human36M, "data", "h36m", {"root": "x"} | wrong)


def test_convention_cameras_hang_above_head_height_and_look_into_the_room():
    centre = torch.tensor([[[0.0, 0.4, 0.9]]])
    for subject, cameras in h36m_cameras.EXTRINSICS.items():
        for (_, position), seen in zip(cameras, h36m_cameras.see(centre, subject)[:, 0, 0], strict=True):
            assert 1.4 < position[2] < 1.7
            assert 4.0 < seen[2] < 6.5
            assert seen[:2].abs().max() < 1.0


@pytest.mark.shared
def test_the_cameras_are_those_of_the_data_set(shared):
    import json

    facts = json.loads((shared / "data" / "h36m_cameras.json").read_text())
    for ours, theirs in zip(h36m_cameras.INTRINSICS, facts["intrinsics"], strict=True):
        assert ours.id == theirs["id"]
        assert ours.size == (theirs["res_w"], theirs["res_h"])
        np.testing.assert_allclose(ours.focal + ours.center, theirs["focal_length"] + theirs["center"], rtol=1e-7)
        theirs_distortion = theirs["radial_distortion"] + theirs["tangential_distortion"]
        np.testing.assert_allclose(ours.distortion, theirs_distortion, rtol=1e-6)
    for subject, cameras in h36m_cameras.EXTRINSICS.items():
        for (orientation, position), theirs in zip(cameras, facts["extrinsics"][subject], strict=True):
            np.testing.assert_allclose(orientation, theirs["orientation"], atol=1e-7)
            np.testing.assert_allclose(position, np.array(theirs["translation"]) / 1000, atol=1e-6)


@pytest.mark.shared
def test_the_cmu_file_has_the_counts_and_depths_of_its_description(shared):
    root = str(shared / "data" / "cmu")
    splits = {split: Human36M(Options(root, fps=30, label="cmu")).load(split) for split in ("train", "val", "test")}
    frames, clips = dict.fromkeys(CMU_FRAMES, 0), dict.fromkeys(CMU_FRAMES, 0)
    for data in splits.values():
        for number, subject in enumerate(data.subjects):
            frames[subject] += int((data.subject == number).sum()) // 4
            clips[subject] += len(data.clip[data.subject == number].unique()) // 4
    assert frames == CMU_FRAMES
    assert clips == CMU_CLIPS
    root_z = torch.cat([d.poses.joints_3d[:, 0, 0, 2] for d in splits.values()])
    low, high = torch.quantile(root_z[::11], torch.tensor([0.1, 0.9])).tolist()
    assert low == pytest.approx(4.0, abs=0.05)
    assert high == pytest.approx(6.0, abs=0.05)
    assert 0.03 < len(splits["val"]) / len(splits["train"]) < 0.1


@pytest.mark.shared
@pytest.mark.long
def test_the_released_trained_lifter_scores_here_what_its_own_code_printed(shared):
    """One figure holds the whole chain: frames, cameras, distortion, normalisation, joint order, root."""
    predict = released_baseline(shared)
    poses = Human36M(Options(str(shared / "data" / "cmu"), stride=5)).load("test").poses.convert(H36M_16)
    predicted = predict(poses.joints_2d)
    error_mm = 1000 * (predicted - poses.root_relative[:, 0]).norm(dim=-1).double().mean()
    assert float(error_mm) == pytest.approx(89.124429, abs=1e-3)
