"""METHODS 12: what bone angle, bone length and rigid transform may and may not change."""

import pytest
import torch

from dg.augment.bone_templates import H36M_BONE_LENGTHS, BoneTemplates, with_h36m_lengths
from dg.augment.generator import PoseGenerator
from dg.augment.trunk import frozen_statistics
from dg.pose.bones import bone_lengths, unit_bones
from dg.pose.skeleton import H36M_16, H36M_17
from tests.conftest import make_joints

ROWS = 64
both = pytest.mark.parametrize("skeleton", [H36M_16, H36M_17], ids=lambda s: s.name)


def augment(skeleton, translation="released"):
    generator = PoseGenerator(skeleton, translation)
    joints = make_joints(ROWS, len(skeleton))
    noise = generator.draw_noise(ROWS, torch.Generator().manual_seed(1))
    with torch.no_grad():
        return joints, generator(joints, noise)


@both
def test_bone_angle_keeps_lengths_root_and_torso(skeleton):
    joints, poses = augment(skeleton)
    before, after = unit_bones(joints, skeleton), unit_bones(poses.bone_angle, skeleton)
    torch.testing.assert_close(after[1], before[1], atol=1e-5, rtol=0)
    torch.testing.assert_close(poses.bone_angle[:, 0], joints[:, 0])
    torso = [skeleton.bone("spine"), skeleton.bone("thorax")]
    torch.testing.assert_close(after[0][:, torso], before[0][:, torso], atol=1e-5, rtol=0)
    others = [b for b in range(len(skeleton.bones)) if b not in torso]
    assert (poses.angle_change[:, others] > 0).all()
    assert poses.angle_change.min() >= -1e-6
    assert poses.angle_change.max() <= 2 + 1e-6


@both
def test_bone_length_keeps_directions_shares_sides_and_leaves_the_upper_torso(skeleton):
    _, poses = augment(skeleton)
    before, after = unit_bones(poses.bone_angle, skeleton), unit_bones(poses.bone_length, skeleton)
    torch.testing.assert_close(after[0], before[0], atol=1e-4, rtol=0)
    ratio = after[1] / before[1] - 1
    assert ratio.abs().max() <= 0.2 + 1e-4
    assert ratio[:, skeleton.bone("thorax")].abs().max() < 1e-4
    torch.testing.assert_close(ratio, ratio[:, list(skeleton.bone_flip)], atol=1e-4, rtol=0)
    assert poses.length_ratio.shape[1] == {16: 9, 17: 10}[len(skeleton)]


@both
@pytest.mark.parametrize("translation", ["released", "residual"])
def test_the_rigid_transform_keeps_all_distances_and_stays_before_the_camera(skeleton, translation):
    _, poses = augment(skeleton, translation)
    torch.testing.assert_close(
        torch.cdist(poses.rigid, poses.rigid), torch.cdist(poses.bone_length, poses.bone_length), atol=2e-3, rtol=0
    )
    torch.testing.assert_close(poses.rigid[:, 0], poses.translation)
    assert poses.translation[:, 2].min() >= 0
    assert poses.rotation.abs().max() <= 3.1416


def test_the_residual_translation_starts_nearer_to_the_poses_own_place():
    joints, residual = augment(H36M_16, "residual")
    _, released = augment(H36M_16)
    place = joints[:, 0]
    assert (residual.translation - place).norm(dim=-1).mean() < (released.translation - place).norm(dim=-1).mean()


def test_noise_comes_from_the_given_generator_alone():
    generator = PoseGenerator(H36M_16)
    first = generator.draw_noise(5, torch.Generator().manual_seed(3))
    torch.manual_seed(99)
    assert torch.equal(first, generator.draw_noise(5, torch.Generator().manual_seed(3)))
    assert first.shape == (4, 5, 48)


def test_frozen_statistics_change_no_buffer_and_no_output():
    generator = PoseGenerator(H36M_16).train()
    joints = make_joints(ROWS, 16)
    noise = generator.draw_noise(ROWS, torch.Generator().manual_seed(1))
    before = {k: v.clone() for k, v in generator.state_dict().items()}
    with frozen_statistics(generator):
        quiet = generator(joints, noise)
    assert all(torch.equal(before[k], v) for k, v in generator.state_dict().items())
    assert torch.equal(quiet.rigid, generator(joints, noise).rigid)
    assert not torch.equal(
        before["bone_angle.trunk.norms.0.running_mean"], generator.bone_angle.trunk.norms[0].running_mean
    )


@both
def test_source_templates_give_every_pose_the_lengths_of_one_subject(skeleton):
    joints = make_joints(200, len(skeleton))
    subjects = bone_lengths(make_joints(3, len(skeleton), seed=5), skeleton)
    templates = BoneTemplates("source", skeleton, subjects)
    swapped = templates.apply(joints, torch.Generator().manual_seed(0))
    distance = (bone_lengths(swapped, skeleton)[:, None] - subjects).abs().amax(-1)
    assert distance.amin(-1).max() < 1e-5
    assert set(distance.argmin(-1).tolist()) == {0, 1, 2}
    torch.testing.assert_close(swapped[:, 0], joints[:, 0])
    torch.testing.assert_close(unit_bones(swapped, skeleton)[0], unit_bones(joints, skeleton)[0], atol=1e-4, rtol=0)


def test_h36m_templates_fit_17_joints_at_the_16_they_share():
    joints = make_joints(5)
    swapped = with_h36m_lengths(joints, H36M_BONE_LENGTHS, H36M_17)
    shared = [H36M_17.index(name) for name in H36M_16.joints]
    torch.testing.assert_close(bone_lengths(swapped[:, shared], H36M_16), H36M_BONE_LENGTHS, atol=1e-5, rtol=0)
    torch.testing.assert_close(
        with_h36m_lengths(joints[:, shared], H36M_BONE_LENGTHS, H36M_16), swapped[:, shared], atol=1e-5, rtol=0
    )


def test_templates_off_and_unknown():
    joints = make_joints(3)
    assert torch.equal(BoneTemplates("off", H36M_17, torch.ones(1, 16)).apply(joints, torch.Generator()), joints)
    with pytest.raises(ValueError, match="templates"):
        BoneTemplates("other", H36M_17, torch.ones(1, 16))
