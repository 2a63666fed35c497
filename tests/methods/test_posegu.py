"""PoseGU's generator and weights, and the weighted step of the lifter that they need."""

import pytest
import torch

from dg.methods.base import StepKey
from dg.methods.posegu import clipped_weights, effective_share, length_factors
from dg.pose.batch import PoseBatch
from dg.pose.bones import bone_lengths
from dg.pose.skeleton import H36M_16, H36M_17
from tests.conftest import make_camera, make_joints
from tests.contracts.test_every_method import make, render, source_batch

both = pytest.mark.parametrize("skeleton", [H36M_16, H36M_17], ids=lambda s: s.name)
KEY = StepKey(3, 0, 0)


def posegu(skeleton=H36M_16, channels="xy", **given):
    return make("posegu", skeleton, channels, **given)


def symmetric_source(skeleton):
    """A batch whose bones are as long on the left as on the right."""
    source = source_batch(skeleton)
    joints = source.joints_3d
    mirror = torch.tensor([-1.0, 1.0, 1.0])
    even = 0.5 * (joints + joints[..., list(skeleton.flip), :] * mirror)
    return render(source.replace(joints_3d=even))


@both
def test_lengths_change_alike_on_both_sides_within_the_limit_and_the_thorax_keeps_its_own(skeleton):
    factors = length_factors(500, skeleton, 0.2, torch.Generator().manual_seed(0))
    assert torch.equal(factors, factors[:, list(skeleton.bone_flip)])
    assert (factors - 1).abs().max() <= 0.2
    assert factors.min() < 0.81
    assert (factors[:, skeleton.bone("thorax")] == 1).all()
    source = symmetric_source(skeleton)
    lengths = bone_lengths(posegu(skeleton).generate(source, KEY), skeleton)
    torch.testing.assert_close(lengths, lengths[:, list(skeleton.bone_flip)], atol=1e-4, rtol=0)
    before = bone_lengths(source.joints_3d[:, 0], skeleton)
    assert ((lengths / before - 1).abs().amax(1) > 0.05).all()


@both
def test_generated_poses_stand_where_their_seed_stands_with_turned_bones_inside_the_ranges(skeleton):
    method = posegu(skeleton, share=1.0)
    source = source_batch(skeleton)
    joints = method.generate(source, KEY)
    torch.testing.assert_close(joints[:, 0], source.joints_3d[:, 0, 0])
    rotation = method.rotation
    found = rotation.coordinates(rotation.frames.encode(joints).directions)[:, rotation.movable]
    low, high = rotation.low[rotation.movable], rotation.high[rotation.movable]
    assert torch.maximum(low - found, found - high).max() < 2e-3
    before = rotation.coordinates(rotation.frames.encode(source.joints_3d[:, 0]).directions)[:, rotation.movable]
    assert torch.maximum(low - before, before - high).max() > 0.05


def test_with_nothing_to_change_the_seed_comes_back():
    source = source_batch(H36M_16)
    method = posegu(share=0.0, length_change=0.0)
    _, log_ratio = method.rotate(source, KEY)
    torch.testing.assert_close(method.generate(source, KEY), source.joints_3d[:, 0], atol=1e-4, rtol=0)
    assert (log_ratio == 0).all()


def test_update_weighs_the_poses_that_propose_made():
    method = posegu()
    source = source_batch(H36M_16)
    proposed = render(method.propose(source, KEY))
    assert torch.equal(proposed.index, source.index[:12])
    joints, (_, log_ratio) = method.generate(source[:12], KEY), method.rotate(source[:12], KEY)
    # Place and facing change afterwards; local directions and lengths are those that were weighed.
    frames = method.rotation.frames
    ours, theirs = frames.encode(proposed.joints_3d[:, 0]), frames.encode(joints)
    torch.testing.assert_close(ours.directions, theirs.directions, atol=2e-3, rtol=0)
    torch.testing.assert_close(ours.lengths, theirs.lengths, atol=1e-4, rtol=0)
    seen = {}
    method.step_lifter = lambda batch, weights: seen.update(batch=batch, weights=weights) or torch.zeros(())
    method.update(source, proposed, KEY)
    torch.testing.assert_close(seen["weights"][:12], clipped_weights(log_ratio, proposed.valid, 10.0))
    assert (seen["weights"][12:] == 1).all()
    assert torch.equal(seen["batch"].joints_3d[:12], proposed.joints_3d)


def test_no_proposal_leaves_the_frame_and_counts():
    method = posegu(attempts=1, depth_m=(2.0, 2.1), spread=1.0)
    source = source_batch(H36M_16)
    # Seeds at the edge: what fits nowhere stays outside and must be marked so.
    edge = source.replace(joints_3d=source.joints_3d + torch.tensor([2.2, 0.0, 0.0]))
    proposed = method.propose(edge, KEY)
    assert torch.equal(proposed.valid, proposed.camera.in_frame(proposed.joints_3d)[:, 0])
    assert not proposed.valid.all()


def test_weights_have_mean_one_over_the_valid_rows_and_are_clipped():
    log_ratio = torch.tensor([-2.0, 0.0, 1.0, 30.0, 5.0])
    valid = torch.tensor([True, True, True, True, False])
    weights = clipped_weights(log_ratio, valid, 4.0)
    assert weights[valid].mean() == pytest.approx(1.0)
    assert weights[4] == 0
    assert weights[3] / weights[1] == pytest.approx(4.0)
    assert weights[2] / weights[1] == pytest.approx(2.71828, rel=1e-4)


def test_weights_of_equal_ratios_are_one_however_small_they_are():
    for level in (0.0, -500.0, 500.0):
        weights = clipped_weights(torch.full((6,), level), torch.ones(6, dtype=torch.bool), 10.0)
        torch.testing.assert_close(weights, torch.ones(6))


def test_no_valid_row_gives_zeros_not_nan():
    valid = torch.zeros(3, dtype=torch.bool)
    weights = clipped_weights(torch.zeros(3), valid, 10.0)
    assert torch.equal(weights, torch.zeros(3))
    assert effective_share(weights, valid) == 0


def test_the_effective_share_counts_equal_weights_fully_and_a_single_one_once():
    valid = torch.ones(8, dtype=torch.bool)
    assert effective_share(torch.full((8,), 3.0), valid) == pytest.approx(1.0)
    assert effective_share(torch.eye(8)[2], valid) == pytest.approx(1 / 8)


def lifter_after(weights, batch=None):
    method = posegu(channels="xyd")
    torch.manual_seed(4)
    loss = method.step_lifter(source_batch(H36M_16) if batch is None else batch, weights)
    return loss, torch.cat([p.detach().flatten() for p in method.lifter.parameters()])


def test_weights_of_one_are_no_weights():
    (plain, without), (weighted, with_ones) = lifter_after(None), lifter_after(torch.ones(24))
    torch.testing.assert_close(plain, weighted)
    # Adam's first step is the gradient's sign times the rate: entries whose gradient rounds to zero may differ by it.
    assert ((without - with_ones).abs() < 1e-5).float().mean() > 0.99


def test_the_weighted_loss_is_the_weighted_mean_of_each_poses_own():
    batch, weights = source_batch(H36M_16), torch.rand(24, generator=torch.Generator().manual_seed(1))
    loss, _ = lifter_after(weights, batch)
    method = posegu(channels="xyd")
    torch.manual_seed(4)
    predicted = method.lifter.train()(batch.features(method.context.inputs))
    errors = (predicted - batch.root_relative).square().mean((1, 2, 3))
    torch.testing.assert_close(loss, (weights * errors).sum().detach() / 24)


def test_rows_that_are_not_valid_take_their_weights_with_them():
    batch = source_batch(H36M_16)
    weights = torch.linspace(0, 1, 24)
    some = batch.replace(valid=torch.arange(24) % 3 > 0)
    left_out, by_hand = lifter_after(weights, some), lifter_after(weights[some.valid], batch[some.valid])
    assert torch.equal(left_out[1], by_hand[1])


def test_without_weighting_every_pose_counts_alike():
    method = posegu(weighting="off")
    source = source_batch(H36M_16)
    proposed = render(method.propose(source, KEY))
    assert (method._weights(source, proposed, KEY) == 1).all()


def test_alternate_steps_on_generated_and_on_source_poses():
    method = posegu(mixing="alternate")
    source = source_batch(H36M_16)
    proposed = render(method.propose(source, KEY))
    assert len(proposed) == 24
    update = method.update(source, proposed, KEY)
    assert update.lifter_steps == method.lifter_steps == 2
    assert 0 < update.metrics["augment/effective_share"] <= 1


@pytest.mark.parametrize(
    "given",
    [{"tail": 0.5}, {"share": 2.0}, {"rotation": 0.0}, {"clip": 0.0}, {"length_change": 1.0}, {"weighting": "x"}],
)
def test_options_that_make_no_sense_are_refused(given):
    with pytest.raises(ValueError, match=next(iter(given))):
        posegu(**given)


def test_windows_of_frames_are_refused():
    window = PoseBatch.from_joints(make_joints(8, 16)[:, None].repeat(1, 3, 1, 1), make_camera(8), H36M_16)
    with pytest.raises(ValueError, match="single frames"):
        posegu().propose(window, KEY)
