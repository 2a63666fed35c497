"""People over time: order, gaps, and joints between the frames that have them."""

import numpy as np

from dg.images.keypoint_formats.base import NO_TRACK, frames_of
from dg.images.tracker import track_people
from dg.pose.skeleton import H36M_17
from dg.predict.tracks import LONGEST_GAP, lift_rows, named_gaps, tracks_of
from tests.conftest import STANDING_17

JOINTS = len(H36M_17)


def walk(numbers, speed=4.0, start=(100.0, 200.0), size=150.0):
    """A person who walks to the right: `[numbers, joints, 2]` px."""
    flat = np.asarray(STANDING_17)[:, :2] * size
    return np.stack([flat + start + [speed * n, 0] for n in numbers]).astype(np.float32)


def rows_of(joints, frame, track, frames):
    confidence = np.where(np.isfinite(joints).all(-1), 0.9, 0).astype(np.float32)
    return lift_rows(joints, confidence, np.asarray(frame, np.int64), np.asarray(track, np.int64), frames, H36M_17)


def test_a_short_gap_is_drawn_and_a_long_one_ends_the_clip():
    numbers = [0, 1, 2, 5, 6, 6 + LONGEST_GAP + 2, 6 + LONGEST_GAP + 3]
    frames = frames_of([str(n) for n in numbers], numbers, in_time=True)
    joints = walk(numbers)
    found = rows_of(joints, range(len(numbers)), [3] * len(numbers), frames)
    assert found.row.tolist() == [0, 1, 2, -1, -1, 3, 4, 5, 6]
    assert found.clip.tolist() == [0] * 7 + [1] * 2
    np.testing.assert_allclose(found.joints_px[:7], walk(range(7)), atol=1e-3)
    assert (found.confidence[3:5] == 0).all()
    (track,) = tracks_of(np.arange(len(numbers)), np.full(len(numbers), 3), frames)
    assert track.gaps == ((3, 4), (7, 6 + LONGEST_GAP + 1))
    lines = named_gaps([track])
    assert "person 3 is not found in frames 3 to 4: drawn" in lines[0]
    assert "the track is cut there" in lines[1]


def test_a_missing_joint_is_drawn_in_time_and_else_lies_where_its_limb_goes_on():
    joints = walk(range(5))
    wrist, elbow = H36M_17.index("left_wrist"), H36M_17.index("left_elbow")
    joints[2, wrist] = np.nan
    ankle, knee = H36M_17.index("left_ankle"), H36M_17.index("left_knee")
    joints[:, ankle] = np.nan
    frames = frames_of([str(n) for n in range(5)], in_time=True)
    found = rows_of(joints, range(5), [1] * 5, frames)
    np.testing.assert_allclose(found.joints_px[2, wrist], walk([2])[0, wrist], atol=1e-3)
    assert not np.allclose(found.joints_px[2, wrist], found.joints_px[2, elbow])
    np.testing.assert_array_equal(found.joints_px[:, ankle], found.joints_px[:, knee])
    assert found.confidence[2, wrist] == 0
    assert np.isfinite(found.joints_px).all()


def test_people_without_a_track_and_clips_are_apart():
    joints = np.concatenate([walk(range(2)), walk(range(2), start=(400, 200))])
    frames = frames_of(list("abcd"), [0, 1, 0, 1], clip=[0, 0, 1, 1], in_time=True)
    alone = rows_of(joints, [0, 1, 2, 3], [NO_TRACK] * 4, frames)
    assert sorted(alone.clip.tolist()) == [0, 1, 2, 3]
    together = rows_of(joints, [0, 1, 2, 3], [5] * 4, frames)
    assert together.clip.tolist() == [0, 0, 1, 1]
    assert len(rows_of(joints[:0], [], [], frames).row) == 0


def test_two_people_who_cross_keep_their_numbers_and_a_pause_too():
    numbers = [n for n in range(40) if not 10 <= n < 16]
    right, left = walk(numbers, 9.0, (100, 200)), walk(numbers, -9.0, (420, 260))
    shuffled = np.random.default_rng(0).permuted(np.tile([0, 1], (len(numbers), 1)), axis=1)
    both = np.stack([right, left], 1)
    joints = np.concatenate([frame[order] for frame, order in zip(both, shuffled, strict=True)])
    frame = np.repeat(np.arange(len(numbers)), 2)
    frames = frames_of([str(n) for n in numbers], numbers, in_time=True)
    found = track_people(joints, frame, frames)
    who = shuffled.reshape(-1)
    assert [len(set(found[who == person])) for person in (0, 1)] == [1, 1]
    assert set(found) == {1, 2}


def test_somebody_far_away_or_after_a_long_time_is_somebody_else():
    frames = frames_of(["0", "1", "2"], [0, 1, 60], in_time=True)
    joints = np.concatenate([walk([0]), walk([0], start=(500, 200)), walk([0], start=(500, 200))])
    assert track_people(joints, np.array([0, 1, 2]), frames).tolist() == [1, 2, 3]
