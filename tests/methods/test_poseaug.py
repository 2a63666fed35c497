"""PoseAug's steps against a plain computation, and what must not leak into what."""

import pytest
import torch

from dg.methods.base import StepKey
from dg.methods.losses import feedback_ratio, joint_group_matrix
from dg.methods.plan import TrainingPlan
from dg.methods.surface_offset import SurfaceOffsets
from dg.pose.batch import PoseBatch
from dg.pose.rotation import rotation_from_axis_angle
from dg.pose.skeleton import H36M_16
from tests.conftest import make_camera, make_joints
from tests.contracts.test_every_method import make, render, source_batch, step

RELEASED = {
    "rigid": "learned", "feedback": "released", "templates": "source", "warmup_share": 0.0, "rates": "released",
}  # fmt: skip


def poseaug(channels="xy", **given):
    """The released form, or what is given of another."""
    options = {**RELEASED, "warmup_iterations": 0, "feedback_mode": "eval", "discriminator_every": 1000, **given}
    return make("poseaug", H36M_16, channels, **options)


def test_the_generators_gradient_equals_a_plain_computation_of_the_released_loss():
    method = poseaug(templates="off")
    method.iterations = 1
    source, key = source_batch(H36M_16), StepKey(3, 0, 0)
    captured = {}
    optimizer = method.optimizers["generator"]
    optimizer.step = lambda: captured.update({n: p.grad.clone() for n, p in method.generator.named_parameters()})
    method._step_augmentor(source, None, key)

    noise = method.generator.draw_noise(len(source), key.generator("noise"))
    joints = source.joints_3d[:, 0]
    poses = method.generator(joints, noise)
    d3, d2, lifter = method.discriminator_3d, method.discriminator_2d, method.lifter.eval()

    def adversarial(discriminator, real, made):
        scores = discriminator(real), discriminator(made)
        return 0.5 * (scores[0].square().mean() + (scores[1] - 1).square().mean())

    def errors(joints_3d):
        predicted = lifter(source.camera.project(joints_3d)[:, None])[:, 0]
        return (predicted - (joints_3d - joints_3d[:, :1])).norm(dim=-1) @ joint_group_matrix(H36M_16)

    loss = 6 * adversarial(d3, joints, poses.bone_angle)
    loss = loss + adversarial(d2, source.camera.project(joints), source.camera.project(poses.rigid))
    change = poses.angle_change.mean(-1) - 0.205
    loss = loss + 3 * (change.square() * (change.abs() > 0.165)).mean()
    loss = loss + 3 * (poses.length_ratio.square() * (poses.length_ratio.abs() > 0.1)).mean()
    loss = loss + 0.1 * feedback_ratio(errors(poses.bone_angle), errors(joints), 3.0, 2.0)
    loss = loss + 0.01 * feedback_ratio(errors(poses.rigid), errors(joints), 17.0, 15.0)
    parameters = dict(method.generator.named_parameters())
    gradients = torch.autograd.grad(loss, list(parameters.values()))
    torch.nn.utils.clip_grad_norm_(parameters.values(), 1.0)
    norm = torch.stack([g.norm() for g in gradients]).norm().clamp_min(1.0)
    for name, gradient in zip(parameters, gradients, strict=True):
        torch.testing.assert_close(captured[name], gradient / norm, atol=2e-5, rtol=2e-3)


def test_a_generator_step_gives_no_gradient_to_lifter_and_discriminators():
    method = poseaug()
    method.iterations = 1
    method._step_augmentor(source_batch(H36M_16), None, StepKey(0, 0, 0))
    assert all(p.grad is not None for p in method.generator.parameters())
    for network in (method.lifter, method.discriminator_3d, method.discriminator_2d):
        assert all(p.grad is None for p in network.parameters())


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_feedback_never_moves_the_lifters_running_statistics(mode):
    method = poseaug(feedback_mode=mode)
    before = method.lifter.first.norm.running_mean.clone()
    method.lifter.train()
    method._step_augmentor(source_batch(H36M_16), None, StepKey(0, 0, 0))
    assert torch.equal(before, method.lifter.first.norm.running_mean)
    assert method.lifter.training


@pytest.mark.parametrize("variant", ["released", "exponential", "off"])
def test_feedback_variants_name_their_losses(variant):
    method = poseaug(feedback=variant)
    update = step(method, 0)
    found = {name for name in update.metrics if "feedback" in name}
    expected = {"released": {"bone_angle", "rigid"}, "exponential": {"rigid"}, "off": set()}[variant]
    assert found == {f"loss/feedback_{name}" for name in expected}


def test_warm_up_trains_the_augmentor_alone_and_proposes_nothing():
    method = poseaug(warmup_iterations=2)
    before = method.lifter.last.weight.clone()
    for number in range(2):
        assert method.propose(source_batch(H36M_16), StepKey(0, 0, number)) is None
        update = step(method, number)
        assert update.lifter_steps == 0
        assert "loss/feedback_rigid" not in update.metrics
    assert torch.equal(before, method.lifter.last.weight)
    assert step(method, 2).lifter_steps >= 1


def test_the_warm_up_is_counted_in_passes_over_the_source_by_default():
    plan = TrainingPlan(total_steps=100, steps_per_epoch=7)
    assert make("poseaug", plan=plan, **{**RELEASED, "warmup_iterations": None}).warmup == 14


def test_discriminators_step_at_every_second_iteration():
    method = poseaug(discriminator_every=2)
    stepped = ["loss/discriminator_3d" in step(method, number).metrics for number in range(4)]
    assert stepped == [True, False, True, False]


def test_discriminators_learn_to_tell_a_generator_that_stands_still():
    method = poseaug(discriminator_every=1, generator_lr=0.0, discriminator_lr=1e-3)
    losses = [step(method, number).metrics["loss/discriminator_3d"].item() for number in range(25)]
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])


def test_feedback_depth_follows_the_pose_and_keeps_the_rendered_offset():
    method = poseaug("xyd", templates="h36m")
    source, key = source_batch(H36M_16), StepKey(0, 0, 0)
    templated = method._with_templates(source, key)
    torch.testing.assert_close(templated.joints_3d[..., 2] - templated.depth, torch.full((24, 1, 16), 0.1))
    assert not torch.equal(templated.joints_3d, source.joints_3d)


def test_rows_that_were_not_rendered_take_the_joints_running_mean():
    source = source_batch(H36M_16)
    offsets = SurfaceOffsets(16)
    offsets.update(source)
    broken = source.replace(valid=torch.arange(24) > 3, depth=torch.full_like(source.depth, torch.nan))
    broken = broken.replace(depth=torch.where(broken.valid[:, None, None], source.depth, torch.nan))
    torch.testing.assert_close(offsets.of(broken), torch.full((24, 1, 16), 0.1))
    before = offsets.mean.clone()
    offsets.update(broken.replace(valid=torch.zeros(24, dtype=torch.bool)))
    assert torch.equal(before, offsets.mean)


def test_the_released_frame_test_lets_poses_leave_by_the_left():
    method = poseaug(frame_test="released", translation="residual")
    with torch.no_grad():
        last = method.generator.rigid.translation_trunk.last
        last.weight.zero_()
        last.bias.copy_(torch.tensor([-20.0, 0.0, 0.0]))
    source, key = source_batch(H36M_16), StepKey(0, 0, 0)
    assert method.propose(source, key).valid.all()
    method.options = poseaug(frame_test="full").options
    assert not method.propose(source, key).valid.any()
    with torch.no_grad():
        last.bias.copy_(torch.tensor([20.0, 0.0, 0.0]))
    method.options = poseaug(frame_test="released").options
    assert not method.propose(source, key).valid.any()


def test_unknown_options_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"feedback must be one of \['released', 'exponential', 'off'\]"):
        make("poseaug", feedback="some")


def test_windows_of_frames_are_refused():
    method = poseaug()
    joints = make_joints(8, 16)[:, None].repeat(1, 3, 1, 1)
    window = PoseBatch.from_joints(joints, make_camera(8), H36M_16)
    with pytest.raises(ValueError, match="single frames"):
        method.update(window, None, StepKey(0, 0, 0))


def test_a_proposal_that_was_made_in_pre_training_arrives_as_none_and_is_borne():
    method = poseaug()
    update = method.update(render(source_batch(H36M_16)), None, StepKey(0, 0, 0))
    assert update.lifter_steps == 1


def test_a_random_rigid_transform_has_no_network_and_gives_bones_their_gradient():
    method = poseaug(rigid="random")
    assert not any("rigid" in name for name, _ in method.generator.named_parameters())
    method.iterations = 1
    update = step(method, 0)
    assert "loss/feedback_rigid" not in update.metrics
    for part in (method.generator.bone_angle, method.generator.bone_length):
        assert part.trunk.last.weight.grad.abs().max() > 0


def test_with_a_random_rigid_transform_both_sides_of_the_2d_judge_are_moved_alike():
    method = poseaug(rigid="random")
    source, key = source_batch(H36M_16), StepKey(0, 0, 0)
    real = method._real_2d(source, key)
    assert not torch.allclose(real, source.joints_2d[:, 0], atol=1e-2)
    made = method.generator(source.joints_3d[:, 0], method.generator.draw_noise(24, key.generator("noise")))
    moved = method._rigid(source, made, key)[:, 0]
    torch.testing.assert_close(
        torch.cdist(moved, moved), torch.cdist(made.bone_length, made.bone_length), atol=2e-3, rtol=0
    )


@pytest.mark.parametrize("rotation", ["quaternion", "bounded"])
def test_heads_that_cannot_saturate_have_a_gradient_at_any_output(rotation):
    head = poseaug(rotation=rotation).generator.rigid
    raw = (torch.randn(64, 4, generator=torch.Generator().manual_seed(0)) * 3).requires_grad_()
    turn = rotation_from_axis_angle(head.turn(raw))
    torch.testing.assert_close(turn @ turn.mT, torch.eye(3).expand(64, 3, 3), atol=1e-5, rtol=0)
    head.turn(raw).square().sum().backward()
    assert raw.grad.isfinite().all()
    assert (raw.grad.norm(dim=1) > 1e-4).all()


def test_the_bounded_head_keeps_people_upright():
    head = poseaug(rotation="bounded").generator.rigid
    turn = rotation_from_axis_angle(head.turn(torch.randn(500, 4, generator=torch.Generator().manual_seed(0)) * 20))
    tilt = torch.rad2deg(torch.acos(turn[:, 1, 1]))
    assert tilt.max() < 34
    assert turn[:, 2, 2].min() < -0.8


def test_the_mode_seeking_term_falls_as_noise_spreads_the_rotation():
    method = poseaug(diversity_weight=1.0, rotation="quaternion")
    last = method.generator.rigid.rotation_trunk.last
    key, source = StepKey(0, 0, 0), source_batch(H36M_16)

    def loss(spread):
        with torch.no_grad():
            last.weight.mul_(spread / last.weight.norm())
        noise = method.generator.draw_noise(24, key.generator("noise"))
        poses = method.generator(source.joints_3d[:, 0], noise)
        return method._noise_losses(source, poses, noise, key)["diversity"].item()

    assert loss(1e-4) > 2 * loss(1.0) > 0


def test_rates_and_warm_up_can_follow_the_planned_budget():
    plan = TrainingPlan(total_steps=7300, steps_per_epoch=7)
    planned = make("poseaug", plan=plan, warmup_iterations=None, warmup_share=0.1, rates="planned")
    assert planned.warmup == 730
    assert planned.network_lr["generator"] == pytest.approx(1e-4 * 10**0.5)
    assert make("poseaug", plan=plan, **RELEASED).network_lr["generator"] == 1e-4
    assert make("poseaug", plan=TrainingPlan(73, 7), rates="planned").network_lr["generator"] == 1e-3


def test_feedback_waits_for_a_lifter_that_is_good_enough():
    waiting, open_ = (poseaug(feedback_below_mm=limit) for limit in (1.0, 1e6))
    for method, given in ((waiting, False), (open_, True)):
        method.iterations = 1
        metrics = method._step_augmentor(source_batch(H36M_16), None, StepKey(0, 0, 0))
        assert (metrics["loss/feedback_bone_angle"] > 0) == given


def test_the_default_is_the_form_that_docs_results_speaks_for():
    method = make("poseaug", plan=TrainingPlan(total_steps=1000, steps_per_epoch=10), warmup_iterations=None)
    assert (method.warmup, method.pretraining, method.feedback.variant) == (100, False, "off")
    assert not any("rigid" in name for name, _ in method.generator.named_parameters())


def test_options_that_exclude_each_other_are_refused():
    with pytest.raises(ValueError, match="diversity_weight: of a learned rigid transform; give rigid=learned too"):
        make("poseaug", diversity_weight=1.0)
    with pytest.raises(ValueError, match="warmup_share must lie in"):
        make("poseaug", warmup_share=2.0)
