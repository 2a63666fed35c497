"""Laws of clips in another time, and what they do to lifters that see one frame or more."""

from dataclasses import replace

import pytest
import torch

from dg.datasets.base import content_digest
from dg.datasets.synthetic import Options, Synthetic
from dg.evaluation.predictions import LifterPredictor, evaluate
from dg.pose.batch import InputSpec
from dg.study.clips import AS_RECORDED, at_speeds, draw_speeds, frame_weights, reversed_in_time, time_changes
from lifters.base import Lifter

LABELS = ("subject", "action", "clip")


def clips(frames=(7, 1, 2, 9), depth=False):
    """Clips of these lengths, by several cameras, cut from synthetic motion."""
    whole = Synthetic(Options(clips=3, frames=max(frames))).load("train")
    starts = torch.arange(len(frames)) * max(frames)
    rows = torch.cat([start + torch.arange(n) for start, n in zip(starts, frames, strict=True)])
    poses = whole.poses[rows]
    if depth:
        poses = poses.replace(depth=poses.joints_3d[..., 2] + 0.01)
    changes = {name: getattr(whole, name)[rows] for name in LABELS}
    return replace(whole, poses=poses, digest=content_digest(poses.joints_3d, poses.joints_2d), **changes)


def assert_equal(one, other):
    for name in ("joints_3d", "joints_2d", "valid", "depth", "confidence"):
        a, b = getattr(one.poses, name), getattr(other.poses, name)
        assert (a is None and b is None) or torch.equal(a, b), name
    assert torch.equal(one.poses.camera.focal, other.poses.camera.focal)
    assert all(torch.equal(getattr(one, name), getattr(other, name)) for name in LABELS)
    assert one.digest == other.digest


def of_clip(dataset, number):
    """Joints of the n-th clip."""
    numbers = dataset.clip.unique_consecutive(return_inverse=True)[1]
    return dataset.poses.joints_3d[numbers == number, 0]


def test_reversed_clips_are_the_clips_backwards_and_twice_reversed_the_clips():
    data = clips(depth=True)
    backwards = reversed_in_time(data)
    for number in range(4):
        assert torch.equal(of_clip(backwards, number), of_clip(data, number).flip(0))
    assert torch.equal(backwards.clip, data.clip)
    assert backwards.digest != data.digest
    shown = backwards.poses.joints_3d[..., 2] + 0.01
    assert torch.equal(backwards.poses.depth, shown), "depth stays with its frame"
    assert_equal(reversed_in_time(backwards), data)


def test_at_speed_one_nothing_changes():
    data = clips()
    assert_equal(at_speeds(data, torch.ones(4)), data)


@pytest.mark.parametrize("speeds", [[0.5, 0.5, 0.5, 0.5], [2.0, 2.0, 2.0, 2.0], [0.7, 1.3, 1.9, 1.1]])
def test_a_clip_at_a_speed_has_its_share_of_frames_and_keeps_its_ends(speeds):
    frames = (7, 1, 4, 9)
    data = clips(frames)
    moved = at_speeds(data, torch.tensor(speeds))
    assert moved.clip.unique_consecutive().tolist() == data.clip.unique_consecutive().tolist()
    for number, (n, speed) in enumerate(zip(frames, speeds, strict=True)):
        own, before = of_clip(moved, number), of_clip(data, number)
        assert len(own) == int(n / speed + 0.5)
        assert torch.equal(own[0], before[0])
        assert torch.equal(own[-1], before[-1])
    assert len(moved) == len(moved.subject) == len(moved.action) == len(moved.clip)


def test_twice_as_slow_puts_evenly_spaced_frames_between_the_recorded_ones():
    data = clips((4,))
    (before,) = (of_clip(data, 0),)
    slow = of_clip(at_speeds(data, torch.tensor([4 / 7])), 0)
    assert torch.equal(slow[::2], before)
    torch.testing.assert_close(slow[1::2], (before[1:] + before[:-1]) / 2)


def test_a_steady_motion_stays_steady_at_any_speed():
    data = clips((9,))
    step = torch.tensor([0.01, 0.0, 0.02])
    steady = data.poses.joints_3d[:1] + torch.arange(9.0)[:, None, None, None] * step
    data = replace(data, poses=data.poses.with_joints(steady))
    steps = of_clip(at_speeds(data, torch.tensor([0.6])), 0).diff(dim=0)
    torch.testing.assert_close(steps, (8 / 14 * step).expand_as(steps), atol=1e-5, rtol=0)


def test_ground_truth_2d_is_the_projection_and_detected_2d_is_interpolated():
    data = clips()
    speeds = torch.tensor([0.7, 1.0, 0.5, 1.6])
    moved = at_speeds(data, speeds).poses
    torch.testing.assert_close(moved.joints_2d, moved.camera.project(moved.joints_3d), atol=1e-6, rtol=0)
    noise = 0.1 * torch.arange(len(data)).float()[:, None, None, None]
    poses = data.poses.replace(joints_2d=data.poses.joints_2d + noise, confidence=torch.rand(len(data), 1, 17))
    seen = at_speeds(replace(data, poses=poses, source_2d="detector"), speeds).poses
    assert not torch.allclose(seen.joints_2d, moved.joints_2d, atol=1e-3)
    assert float(seen.confidence.max()) <= float(poses.confidence.max())


def test_depth_of_the_recorded_poses_is_not_kept_and_invalid_ones_spread_to_those_between():
    data = clips((3,), depth=True)
    data = replace(data, poses=data.poses.replace(valid=torch.tensor([True, False, True])))
    moved = at_speeds(data, torch.tensor([0.6])).poses
    assert moved.depth is None
    assert moved.valid.tolist() == [True, False, False, False, True]


def test_speeds_are_drawn_alike_for_everyone_and_within_their_bounds():
    speeds = draw_speeds(2000, 0.5, 2.0, seed=3)
    assert torch.equal(speeds, draw_speeds(2000, 0.5, 2.0, seed=3))
    assert not torch.equal(speeds, draw_speeds(2000, 0.5, 2.0, seed=4))
    assert 0.5 <= speeds.min() < 0.51
    assert 1.99 < speeds.max() <= 2.0
    assert abs(float(speeds.mean()) - 1.25) < 0.03


@pytest.mark.parametrize("speeds", [[1.0], [1.0, 1.0, 1.0, 0.0]])
def test_speeds_that_fit_no_clip_are_refused(speeds):
    with pytest.raises(ValueError, match="positive speed for each of 4 clips"):
        at_speeds(clips(), torch.tensor(speeds))


def test_a_change_of_time_stands_in_the_protocol_and_none_does_not():
    recorded, backwards, varied = time_changes(0.5, 2, seed=7)
    assert recorded.protocol("a/tta=none") == "a/tta=none"
    assert backwards.protocol("a/tta=none") == "a/tta=none/time=reversed"
    assert varied.protocol("a/tta=none") == "a/tta=none/time=speeds-0.5-2-seed7"
    data = clips()
    assert recorded.label == AS_RECORDED
    assert recorded.apply(data) is data
    assert_equal(varied.apply(data), at_speeds(data, draw_speeds(4, 0.5, 2.0, seed=7)))


def test_a_clip_counts_as_much_at_any_speed_as_recorded():
    data = clips((7, 1, 4, 9))
    moved = at_speeds(data, torch.tensor([0.5, 0.7, 1.9, 1.1]))
    weights = frame_weights(data, moved)
    for number, frames in zip(data.clip.unique_consecutive(), (7, 1, 4, 9), strict=True):
        assert float(weights[moved.clip == number].sum()) == pytest.approx(frames)
    assert torch.equal(frame_weights(data, reversed_in_time(data)), torch.ones(len(data), dtype=torch.float64))


class Leaning(Lifter):
    """Lifts the middle frame, a little off into the direction of its motion: what single frames do not show."""

    def __init__(self, skeleton):
        super().__init__(skeleton, 2)

    def forward(self, features):
        middle = features.shape[1] // 2
        lean = features[:, -1:] - features[:, :1]
        pose = torch.cat([features[:, middle : middle + 1] + lean, features[:, middle : middle + 1, :, :1]], -1)
        return pose - pose[:, :, :1]


def test_reversal_is_nothing_to_a_lifter_of_one_frame_and_something_to_others():
    data = clips()
    lifter = LifterPredictor(Leaning(data.poses.skeleton), InputSpec("xy", "off"))
    for frames, alike in ((1, True), (5, False)):
        before, after = (
            evaluate(lifter, d, "none", frames).errors.summary()["mpjpe_mm"] for d in (data, reversed_in_time(data))
        )
        assert (abs(before - after) < 1e-9) == alike
