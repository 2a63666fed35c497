"""Streaming: the same answers as a window for every frame, once each, for a fraction of the work."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from dg.pose.skeleton import H36M_16, H36M_17
from dg.pose.windows import Windows
from lifters.streaming import StreamingVideoPose3D
from lifters.video_pose_3d import VideoPose3D, VideoPose3DOptions
from tests.lifters.test_video_pose_3d_sequences import lifter_for


def by_windows(lifter, clip):
    """Each frame by its own window, edges repeated: `[frames, joints, 3]` of a clip `[frames, joints, channels]`."""
    rows = torch.arange(len(clip))
    windows = Windows.over(torch.zeros_like(rows), lifter.receptive_field).rows(rows)
    with torch.no_grad():
        return lifter(clip[windows])[:, 0]


def streamed(stream, features, chunks):
    """Answers in the order in which they came."""
    answers = [stream.push(part) for part in features.split(chunks, 1)]
    return torch.cat([*answers, stream.finish()], 1)


@pytest.mark.parametrize(
    ("frames", "length", "chunk"),
    [
        (243, 300, 300), (243, 300, 7), (243, 20, 1), (243, 1, 1),
        (27, 200, 1), (27, 40, 3), (27, 13, 1), (27, 14, 14), (9, 100, 1), (1, 5, 2),
    ],
)  # fmt: skip
def test_every_frame_is_answered_once_as_its_window_is(frames, length, chunk):
    lifter = lifter_for(frames, width=16)
    clips = torch.randn(2, length, 17, 2)
    answers = streamed(StreamingVideoPose3D(lifter), clips, chunk)
    assert answers.shape == (2, length, 17, 3)
    for clip, answer in zip(clips, answers, strict=True):
        torch.testing.assert_close(answer, by_windows(lifter, clip), atol=1e-5, rtol=0)


@pytest.mark.parametrize("widths", [(3, 1, 3), (1, 3, 5), (5, 3)], ids=str)
def test_other_widths_stream_as_well(widths):
    lifter = lifter_for(int(torch.tensor(widths).prod()), H36M_16, channels=3, width=16, widths=widths)
    clip = torch.randn(1, 60, 16, 3)
    answers = streamed(StreamingVideoPose3D(lifter), clip, [1, 30, 2, 27])
    torch.testing.assert_close(answers[0], by_windows(lifter, clip[0]), atol=1e-5, rtol=0)


def test_answers_lag_by_half_the_receptive_field():
    stream, clip = StreamingVideoPose3D(lifter_for(27, width=8)), torch.randn(1, 30, 17, 2)
    assert stream.delay == 13
    assert [stream.push(clip[:, n : n + 1]).shape[1] for n in range(30)] == 13 * [0] + 17 * [1]
    assert stream.finish().shape[1] == 13


def test_a_clip_knows_nothing_of_the_one_before():
    lifter, clips = lifter_for(9, width=8), torch.randn(2, 1, 20, 17, 2)
    stream = StreamingVideoPose3D(lifter)
    streamed(stream, clips[0], 3)
    assert torch.equal(streamed(stream, clips[1], 4), streamed(StreamingVideoPose3D(lifter), clips[1], 4))


def test_an_answer_is_not_changed_by_what_comes_after():
    stream, clip = StreamingVideoPose3D(lifter_for(9, width=8)), torch.randn(1, 60, 17, 2)
    first = stream.push(clip[:, :20])
    kept = first.clone()
    stream.push(clip[:, 20:])
    assert torch.equal(first, kept)


def test_the_lifter_is_left_as_it_is_and_may_go_on_training():
    lifter = lifter_for(9, width=8).train()
    before = {name: value.clone() for name, value in lifter.state_dict().items()}
    stream, clip = StreamingVideoPose3D(lifter), torch.randn(1, 20, 17, 2)
    answers = streamed(stream, clip, 1)
    assert lifter.training
    assert all(torch.equal(before[name], value) for name, value in lifter.state_dict().items())
    torch.nn.init.zeros_(lifter.last.weight)
    assert torch.equal(streamed(stream, clip, 1), answers)


def test_a_frame_costs_every_weight_one_multiplication():
    """At least 20 times fewer than the dilated form's window, and as few as there can be: one for each weight."""
    lifter = VideoPose3D(H36M_17, 2, VideoPose3D.for_frames(VideoPose3DOptions(root="predicted"), 243)).eval()
    stream, frame = StreamingVideoPose3D(lifter), torch.randn(1, 1, 17, 2)
    stream.push(frame.expand(-1, stream.delay, -1, -1))
    with FlopCounterMode(display=False) as counter:
        assert stream.push(frame).shape == (1, 1, 17, 3)
    weights = sum(weight.numel() for layer in stream.layers for weight, _ in layer.weights) + stream.last[0].numel()
    assert counter.get_total_flops() // 2 == weights == 16_933_888
    assert 2_608_915_456 / weights > 150
    assert 176_284_672 / weights > 10


def test_what_cannot_be_streamed_is_refused():
    stream = StreamingVideoPose3D(lifter_for(9, width=8))
    with pytest.raises(ValueError, match="at least one frame, got none"):
        stream.finish()
    with pytest.raises(ValueError, match="at least one frame, got none"):
        stream.push(torch.randn(2, 0, 17, 2))
    stream.push(torch.randn(2, 1, 17, 2))
    with pytest.raises(ValueError, match=r"expected 2 rows.*got 3"):
        stream.push(torch.randn(3, 1, 17, 2))


@pytest.mark.gpu
def test_the_gpu_streams_the_same():
    lifter, clip = lifter_for(27, width=16), torch.randn(2, 50, 17, 2)
    here = streamed(StreamingVideoPose3D(lifter), clip, 5)
    there = streamed(StreamingVideoPose3D(lifter.cuda()), clip.cuda(), 5)
    torch.testing.assert_close(there.cpu(), here, atol=1e-4, rtol=1e-4)
