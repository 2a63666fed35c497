"""VideoPose3D's two forms: equal answers, published sizes and outputs, and where each may be used."""

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from dg.evaluation.predictions import LifterPredictor, predict_all
from dg.pose.batch import InputSpec, PoseBatch
from dg.pose.skeleton import H36M_16, H36M_17
from dg.pose.windows import Windows
from dg.training.build import initialise
from lifters.video_pose_3d import VideoPose3D, VideoPose3DOptions
from tests.conftest import make_camera, make_joints

FRAMES = (9, 27, 81, 243)


def lifter_for(frames, skeleton=H36M_17, channels=2, **options):
    """In eval mode; its batch norms' statistics and weights are not those of a new network."""
    lifter = VideoPose3D(skeleton, channels, VideoPose3D.for_frames(VideoPose3DOptions(**options), frames)).eval()
    for module in lifter.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            for values, centre in ((module.running_mean, 0.0), (module.weight, 1.0), (module.bias, 0.0)):
                torch.nn.init.normal_(values, centre, 0.3)
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
    return lifter


def multiply_adds(work):
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() // 2


@pytest.mark.parametrize(
    ("frames", "channels", "expected"),
    [
        (9, 2, 4_357_171), (27, 2, 8_555_571), (243, 2, 16_952_371),
        (9, 6, 4_566_067), (27, 6, 8_764_467), (243, 6, 17_161_267),
        (81, 2, (8_555_571 + 16_952_371) // 2),  # each block adds as much
    ],
)  # fmt: skip
def test_it_has_the_published_number_of_parameters(frames, channels, expected):
    with torch.device("meta"):
        options = VideoPose3D.for_frames(VideoPose3DOptions(root="predicted"), frames)
        lifter = VideoPose3D(H36M_17, channels, options)
    assert sum(p.numel() for p in lifter.parameters()) == expected


@pytest.mark.shared
@pytest.mark.parametrize(("frames", "width"), [(27, 128), (243, 64)])
@pytest.mark.parametrize("strided", [False, True])
def test_both_forms_compute_what_the_released_code_computes(shared, frames, width, strided):
    golden = np.load(shared / "conformance/sequence_lifters_golden.npz")
    name = f"videopose3d_{frames}_c{width}"
    features = torch.from_numpy(golden[f"{name}_in"])
    lifter = lifter_for(frames, channels=features.shape[-1], width=width, root="predicted")
    initialise(lifter, shared / f"conformance/{name}.pth")
    with torch.no_grad():
        windows = features.unfold(1, frames, 1).movedim(-1, 2) if strided else features[:, None]
        output = torch.cat([lifter.lift(windows[:, n], strided) for n in range(windows.shape[1])], 1)
    assert output.shape == golden[f"{name}_out"].shape
    assert np.abs(output.numpy() - golden[f"{name}_out"]).max() < 1e-5


@pytest.mark.parametrize("widths", [(3, 3), (3, 3, 3, 3, 3), (1, 1), (5, 1, 3)], ids=str)
def test_both_forms_answer_alike(widths):
    frames = int(np.prod(widths))
    lifter = lifter_for(frames, H36M_16, width=32, widths=widths)
    features = torch.randn(3, frames, 16, 2)
    strided, dilated = lifter.lift(features, strided=True), lifter.lift(features, strided=False)
    assert strided.shape == (3, 1, 16, 3)
    torch.testing.assert_close(strided, dilated, atol=1e-6, rtol=0)
    assert torch.equal(lifter(features), strided)
    weight = lifter.first.convolution.weight
    gradients = [torch.autograd.grad(output.square().sum(), weight)[0] for output in (strided, dilated)]
    torch.testing.assert_close(*gradients, atol=1e-5, rtol=1e-4)


def test_a_long_window_answers_as_the_windows_within_it():
    lifter = lifter_for(27, width=32)
    features = torch.randn(2, 40, 17, 2)
    assert range(40)[lifter.target_frames(40)] == range(13, 27)
    whole = lifter(features)
    for frame in range(14):
        torch.testing.assert_close(
            whole[:, frame : frame + 1], lifter(features[:, frame : frame + 27]), atol=1e-6, rtol=0
        )


def test_whole_clips_are_evaluated_in_long_windows_as_frame_by_frame():
    """The window's length is the caller's: longer ones make the dilated form share work between frames."""
    predictor = LifterPredictor(lifter_for(9, width=32), InputSpec("xy", "off"))
    poses = PoseBatch.from_joints(make_joints(50)[:, None], make_camera(50), H36M_17)
    clip = torch.tensor([0] * 3 + [1] * 40 + [2] * 7)
    each, shared = (predict_all(predictor, poses, windows=Windows.over(clip, frames)) for frames in (9, 30))
    torch.testing.assert_close(shared, each, atol=1e-6, rtol=0)


def test_training_normalises_by_the_frames_of_the_strided_form_as_the_paper_does():
    lifter, features = lifter_for(9, width=32, dropout=0.0).train(), torch.randn(4, 9, 17, 2)
    trained, strided = lifter(features), lifter.lift(features, strided=True)
    assert torch.equal(trained, strided)
    assert (trained - lifter.lift(features, strided=False)).abs().max() > 1e-3
    flat = torch.nn.functional.conv1d(features.flatten(2).mT, lifter.first.convolution.weight, stride=3)
    torch.nn.init.zeros_(lifter.first.norm.running_mean)
    lifter.first.norm.momentum = 1.0
    lifter(features)
    torch.testing.assert_close(lifter.first.norm.running_mean, flat.mean((0, 2)), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("frames", "dilated", "strided"), [(27, 86_549_504, 17_769_472), (243, 2_608_915_456, 176_284_672)]
)
def test_a_windows_multiply_adds_are_those_that_the_layers_have(frames, dilated, strided):
    with torch.device("meta"):
        lifter = VideoPose3D(H36M_17, 2, VideoPose3D.for_frames(VideoPose3DOptions(root="predicted"), frames)).eval()
        features = torch.empty(1, frames, 17, 2)
        assert multiply_adds(lambda: lifter.lift(features, strided=False)) == dilated
        assert multiply_adds(lambda: lifter(features)) == strided


def test_windows_of_another_length_are_refused():
    lifter = lifter_for(9, width=8)
    with pytest.raises(ValueError, match="at least 9 frames"):
        lifter(torch.randn(2, 8, 17, 2))
    with pytest.raises(ValueError, match="windows of 9 frames, got 10"):
        lifter.lift(torch.randn(2, 10, 17, 2), strided=True)
