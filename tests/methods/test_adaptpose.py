"""AdaptPose: what its generator keeps and learns, where its real 2D comes from, what is selected and what rescaled."""

from dataclasses import replace

import pytest
import torch

from dg.augment.axis_angle_generator import AxisAngleGenerator
from dg.methods.adaptpose import AdaptPose, AdaptPoseOptions, in_difficulty_window
from dg.methods.base import StepKey
from dg.pose.bones import bone_lengths, unit_bones
from dg.pose.skeleton import H36M_16, H36M_17
from tests.conftest import make_joints
from tests.contracts.test_every_method import make, render, source_batch, step

TORSO = ("spine", "thorax")

every_skeleton = pytest.mark.parametrize("skeleton", [H36M_16, H36M_17], ids=lambda s: s.name)


def adaptpose(channels="xy", **given):
    return make("adaptpose", H36M_16, channels, **{"warmup_iterations": 0, "feedback_mode": "eval", **given})


def generate(skeleton, translation="released", rows=32):
    generator = AxisAngleGenerator(skeleton, translation)
    joints = make_joints(rows, len(skeleton))
    noise = generator.draw_noise(rows, torch.Generator().manual_seed(1))
    return generator, joints, noise, generator(joints, noise)


@every_skeleton
def test_turning_bones_keeps_their_lengths_the_torso_and_the_place(skeleton):
    _, joints, _, poses = generate(skeleton)
    torch.testing.assert_close(bone_lengths(poses.bone_angle, skeleton), bone_lengths(joints, skeleton))
    torch.testing.assert_close(poses.bone_angle[:, skeleton.root], joints[:, skeleton.root])
    (moved, _), (units, _) = unit_bones(poses.bone_angle, skeleton), unit_bones(joints, skeleton)
    torso = [skeleton.bone(joint) for joint in TORSO]
    torch.testing.assert_close(moved[:, torso], units[:, torso], atol=1e-5, rtol=0)
    others = [bone for bone in range(len(skeleton.bones)) if bone not in torso]
    assert ((moved - units).norm(dim=-1).mean(0)[others] > 0.05).all()


@every_skeleton
def test_a_bone_turns_about_the_predicted_axis_by_the_predicted_angle(skeleton):
    generator, joints, noise, poses = generate(skeleton)
    root = skeleton.root
    raw = generator.bone_angle.trunk((joints - joints[:, root : root + 1]).flatten(1), noise[0, :, :45])
    axis, angle = raw.view(32, -1, 4).split([3, 1], -1)
    axis = axis / axis.norm(dim=-1, keepdim=True)
    units, moved = unit_bones(joints, skeleton)[0], unit_bones(poses.bone_angle, skeleton)[0]
    along = (units * axis).sum(-1, keepdim=True) * axis
    expected = along + (units - along) * angle.cos() + torch.linalg.cross(axis, units) * angle.sin()
    wrist = skeleton.bone("left_wrist")
    torch.testing.assert_close(moved[:, wrist], expected[:, wrist], atol=1e-5, rtol=0)


@every_skeleton
def test_rotation_and_place_move_the_pose_rigidly_and_in_front(skeleton):
    _, _, _, poses = generate(skeleton)
    torch.testing.assert_close(
        torch.cdist(poses.rigid, poses.rigid), torch.cdist(poses.bone_length, poses.bone_length), atol=1e-4, rtol=0
    )
    assert (poses.rigid[:, skeleton.root, 2] >= 0).all()


def test_the_axis_is_drawn_around_the_predicted_mean_with_the_squared_spread():
    generator, joints, noise, poses = generate(H36M_16)
    root = joints[:, 0]
    raw = generator.rigid.rotation_trunk((joints - root[:, None]).flatten(1), noise[2, :, :45])
    axis = raw[:, :3] + raw[:, 3:6] ** 2 * noise[2, :, 45:]
    expected = axis / axis.norm(dim=-1, keepdim=True) * raw[:, 6:]
    torch.testing.assert_close(poses.rotation, expected)
    again = noise.clone()
    again[2, :, 45:] *= -1
    assert not torch.allclose(generator(joints, again).rotation, poses.rotation)


@pytest.mark.parametrize("translation", ["released", "residual"])
@every_skeleton
def test_gradients_reach_every_output_of_every_part(skeleton, translation):
    generator, _, _, poses = generate(skeleton, translation)
    (poses.rigid * torch.randn(poses.rigid.shape)).sum().backward()
    silent = [skeleton.bone(joint) for joint in TORSO]
    turned = generator.bone_angle.trunk.last.weight.grad.view(-1, 4, 256).abs().sum((1, 2)) > 0
    assert [bone for bone, moved in enumerate(turned.tolist()) if not moved] == silent
    rigid = generator.rigid
    for trunk, outputs in ((rigid.rotation_trunk, 7), (rigid.translation_trunk, 3)):
        assert len(trunk.last.weight) == outputs
        assert (trunk.last.weight.grad.abs().sum(1) > 0).all()


def test_no_parameter_is_idle():
    generator, _, _, poses = generate(H36M_16)
    poses.rigid.sum().backward()
    assert all(p.grad is not None for p in generator.parameters())


def test_it_needs_a_target():
    context = replace(adaptpose().context, target=None)
    with pytest.raises(ValueError, match="domain adaptation"):
        AdaptPose(context, AdaptPoseOptions())
    assert AdaptPose.regime == "DA"


def test_the_2d_discriminators_real_poses_are_the_targets_and_the_3d_ones_the_sources():
    method = adaptpose(templates="off", discriminator_every=1)
    seen = {"discriminator_2d": [], "discriminator_3d": []}
    for name, inputs in seen.items():
        getattr(method, name).register_forward_pre_hook(
            lambda _, given, inputs=inputs: inputs.append(given[0].detach())
        )
    source = source_batch(H36M_16)
    method._step_augmentor(source, None, StepKey(0, 0, 0))
    real_2d, real_3d = (seen[name][-1][: len(source)] for name in ("discriminator_2d", "discriminator_3d"))
    # Each discriminator was called in the generator's step and then in its own.
    assert [len(inputs) for inputs in seen.values()] == [2, 2]
    known = {tuple(row) for row in method.context.target.joints_2d.flatten(1).tolist()}
    assert {tuple(row) for row in real_2d.flatten(1).tolist()} <= known
    known = {tuple(row) for row in source.joints_3d.flatten(1).tolist()}
    assert {tuple(row) for row in real_3d.flatten(1).tolist()} == known


def test_the_difficulty_window_is_open_and_its_centre_is_17():
    ratios = torch.tensor([0.5, 1.0, 1.001, 17.0, 32.99, 33.0, 100.0, torch.nan, torch.inf])
    augmented = ratios[:, None] * torch.tensor([0.5, 1.0, 1.5])
    kept = in_difficulty_window(augmented, torch.ones(9, 3))
    assert kept.tolist() == [False, False, True, True, True, False, False, False, False]


@pytest.mark.parametrize("channels", ["xy", "xyd"])
def test_what_the_lifter_gets_is_what_lies_in_the_window(channels):
    method = adaptpose(channels)
    for number in range(3):
        step(method, number)
    method.survivors.waiting = None
    source, key = source_batch(H36M_16), StepKey(3, 0, 3)
    proposed = render(method.propose(source, key))
    metrics = method._take(source, proposed, key)

    def errors(poses):
        features = poses.features(method.context.inputs)
        with torch.no_grad():
            distance = (method.lifter.eval()(features) - poses.root_relative).norm(dim=-1)[:, 0]
        return distance @ method.feedback.groups

    ratio = (errors(proposed) / errors(method._with_templates(source, key))).mean(-1)
    expected = proposed[proposed.valid & (ratio > 1) & (ratio < 33)]
    assert 0 < len(expected) < len(source)
    assert torch.equal(method.survivors.waiting.joints_3d, expected.joints_3d)
    assert metrics["augment/selected_share"] == len(expected) / len(source)


def test_without_selection_every_valid_pose_is_taken():
    method = adaptpose(selection="off")
    source, key = source_batch(H36M_16), StepKey(3, 0, 3)
    proposed = render(method.propose(source, key))
    method._take(source, proposed, key)
    assert len(method.survivors.waiting) == int(proposed.valid.sum()) > 0


def test_predictions_are_not_rescaled_unless_asked():
    method = adaptpose()
    assert method.rescale == "off"
    source = source_batch(H36M_16)
    with torch.no_grad():
        plain = method.lifter.eval()(source.features(method.context.inputs))
    assert torch.equal(method.predict(source), plain)


def test_rescaling_gives_the_batch_a_mean_trunk_of_52_cm_by_one_factor():
    method, plain = adaptpose(rescale="batch_hip_neck"), adaptpose()
    source = source_batch(H36M_16)
    scaled, original = method.predict(source), plain.predict(source)
    trunk = (scaled[..., H36M_16.index("thorax"), :] - scaled[..., 0, :]).norm(dim=-1)
    assert trunk.mean().item() == pytest.approx(0.52, abs=1e-6)
    assert trunk.std() > 0
    factor = scaled.norm() / original.norm()
    torch.testing.assert_close(scaled, original * factor)
    # Another batch, another factor: that is what makes such results incomparable.
    assert not torch.allclose(method.predict(source[:5]), scaled[:5])


def test_rescaling_touches_evaluation_alone():
    ours, theirs = adaptpose(rescale="batch_hip_neck"), adaptpose()
    for number in range(3):
        first, second = step(ours, number), step(theirs, number)
    assert all(torch.equal(first.metrics[name], second.metrics[name]) for name in second.metrics)


def test_unknown_options_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"rescale must be one of \['off', 'batch_hip_neck'\]"):
        adaptpose(rescale="yes")
    with pytest.raises(ValueError, match=r"selection must be one of"):
        adaptpose(selection="some")
