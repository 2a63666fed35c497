"""Windows over clips: never across a border, and every frame answered for once."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dg.pose.batch import PoseBatch
from dg.pose.skeleton import H36M_16
from dg.pose.windows import Windows
from tests.conftest import make_camera, make_joints

lengths = st.lists(st.integers(1, 12), min_size=1, max_size=5)


def clips(lengths):
    """Clip numbers that do not start at zero nor rise."""
    return torch.tensor([7 * (i % 3) + i for i in range(len(lengths))]).repeat_interleave(torch.tensor(lengths))


def slow_window(clip, centre, frames):
    """The twin: walk from the centre, and stay at the border."""
    window = []
    for step in range(-(frames // 2), frames - frames // 2):
        row = centre
        for _ in range(abs(step)):
            following = row + (1 if step > 0 else -1)
            if 0 <= following < len(clip) and clip[following] == clip[centre]:
                row = following
        window.append(row)
    return window


@given(lengths, st.integers(1, 9))
def test_windows_equal_their_slow_twin(lengths, frames):
    clip = clips(lengths)
    rows = Windows.over(clip, frames).rows(torch.arange(len(clip)))
    assert rows.tolist() == [slow_window(clip, centre, frames) for centre in range(len(clip))]


@given(lengths, st.integers(1, 9), st.data())
def test_tiles_answer_for_every_row_once_and_from_its_own_clip(lengths, frames, data):
    start = data.draw(st.integers(0, frames - 1))
    stop = data.draw(st.integers(start + 1, frames))
    clip = clips(lengths)
    windows = Windows.over(clip, frames)
    tiles = windows.tiles(slice(start, stop))
    rows = windows.rows(tiles.anchor, tiles.ahead)[:, start:stop]
    answered = tiles.answers >= 0
    assert torch.equal(rows[answered], tiles.answers[answered]), "what is answered for is what the window shows there"
    assert sorted(tiles.answers[answered].tolist()) == list(range(len(clip)))
    assert (clip[rows] == clip[tiles.anchor][:, None]).all()


def test_gathered_windows_hold_the_frames_they_name():
    clip = clips([4, 3])
    poses = PoseBatch.from_joints(make_joints(7, 16)[:, None], make_camera(7), H36M_16)
    poses = poses.replace(depth=poses.joints_3d[..., 2], valid=torch.tensor([True] * 6 + [False]))
    windows = Windows.over(clip, 3)
    batch = windows.gather(poses, torch.tensor([0, 2, 5]))
    rows = torch.tensor([[0, 0, 1], [1, 2, 3], [4, 5, 6]])
    assert torch.equal(batch.joints_3d, poses.joints_3d[rows, 0])
    assert torch.equal(batch.depth, poses.depth[rows, 0])
    assert batch.valid.tolist() == [True, True, False], "a window with an invalid frame is invalid"
    assert batch.index.tolist() == [0, 2, 5]


def test_one_frame_is_the_batch_itself():
    poses = PoseBatch.from_joints(make_joints(5, 16)[:, None], make_camera(5), H36M_16)
    batch = Windows.over(clips([5]), 1).gather(poses, torch.tensor([3, 1]))
    assert torch.equal(batch.joints_3d, poses.joints_3d[[3, 1]])


def test_what_is_no_clip_is_refused():
    with pytest.raises(ValueError, match="interrupted"):
        Windows.over(torch.tensor([0, 1, 0]), 3)
    with pytest.raises(ValueError, match="frames=0"):
        Windows.over(torch.tensor([0]), 0)
    poses = PoseBatch.from_joints(make_joints(2, 16)[:, None], make_camera(2), H36M_16)
    with pytest.raises(ValueError, match="expected 3 single frames, got 2"):
        Windows.over(clips([3]), 3).gather(poses, torch.tensor([0]))
