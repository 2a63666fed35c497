"""PoseDA's ablations: random changes in the place of learned ones, and other ways to normalise 2D."""

import pytest
import torch

from dg.methods.base import StepKey
from dg.methods.poseda import PoseDAOptions
from dg.pose.bones import bone_lengths
from dg.pose.boxes import crop_to_boxes
from dg.pose.input_spec import InputSpec
from dg.pose.skeleton import H36M_16
from tests.contracts.test_every_method import make, source_batch, step


def relative(joints):
    return joints - joints[..., :1, :]


@pytest.mark.parametrize("local", [(), ("rotation",), ("length",), ("rotation", "length")])
def test_random_changes_turn_about_the_vertical_and_scale_bones_as_named(local):
    method = make("poseda", H36M_16, "xy", parts="gpa", local=local)
    source = source_batch(H36M_16)
    before, made = source.joints_3d[:, 0], method.propose(source, StepKey(0, 0, 0))
    after = made.joints_3d[:, 0][made.valid]
    before = before[made.valid]
    ratio = bone_lengths(after, H36M_16) / bone_lengths(before, H36M_16)
    assert bool(((ratio - 1).abs() > 1e-3).any()) == ("length" in local)
    assert ((ratio - 1).abs() < 0.2 + 1e-4).all()
    torch.testing.assert_close(ratio, ratio[:, list(H36M_16.bone_flip)], atol=1e-3, rtol=0)
    assert (ratio[:, H36M_16.bone("thorax")] - 1).abs().max() < 1e-4
    one, other = relative(before), relative(after)
    turned = (one[..., [0, 2]] - other[..., [0, 2]]).abs().max() > 0.05
    if "length" not in local:
        # Heights stay: y is the camera's vertical axis.
        torch.testing.assert_close(one[..., 1], other[..., 1], atol=1e-4, rtol=0)
        assert bool(turned) == ("rotation" in local)
    assert torch.isfinite(step(method, 1).metrics["loss/lifter"])


def test_a_random_change_beside_a_learned_one_is_refused():
    with pytest.raises(ValueError, match="parts=gpa"):
        PoseDAOptions(local=("rotation",))


@pytest.mark.parametrize("square", [False, True])
def test_a_crop_does_not_see_where_and_how_large_a_person_is(square):
    torch.manual_seed(0)
    pose = torch.randn(5, 16, 2)
    moved = pose * 0.3 + torch.tensor([0.5, -0.2])
    cropped = crop_to_boxes(pose, square)
    torch.testing.assert_close(crop_to_boxes(moved, square), cropped, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(cropped.abs().amax((-2, -1)), torch.ones(5))
    span = cropped.amax(-2) - cropped.amin(-2)
    if square:
        before = pose.amax(-2) - pose.amin(-2)
        torch.testing.assert_close(span[:, 0] / span[:, 1], before[:, 0] / before[:, 1])
    else:
        torch.testing.assert_close(span, torch.full_like(span, 2.0))
    assert (crop_to_boxes(torch.ones(1, 16, 2), square) == 0).all()


def test_the_lifter_is_given_the_crop():
    source = source_batch(H36M_16)
    seen = source.features(InputSpec("xy", "square"))
    torch.testing.assert_close(seen, crop_to_boxes(source.joints_2d, square=True))
