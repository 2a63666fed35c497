"""METHODS 12 for PoseDA's generator: what each of its operations keeps, and that each sees the one before."""

import pytest
import torch

from dg.augment.sequential_generator import ROTATIONS, SequentialGenerator
from dg.augment.trunk import frozen_statistics
from dg.pose.bones import unit_bones
from dg.pose.skeleton import H36M_16, H36M_17
from tests.conftest import make_joints

ROWS = 64
every_case = pytest.mark.parametrize(
    ("skeleton", "rotation", "norm"),
    [(s, r, n) for s in (H36M_16, H36M_17) for r in ROTATIONS for n in ("batch", "layer")],
    ids=lambda v: getattr(v, "name", v),
)


def augment(skeleton, rotation="axis_angle", norm="batch"):
    generator = SequentialGenerator(skeleton, rotation, norm)
    joints = make_joints(ROWS, len(skeleton))
    noise = generator.draw_noise(ROWS, torch.Generator().manual_seed(1))
    with torch.no_grad():
        return generator, joints, noise, generator(joints, noise)


@every_case
def test_bone_angle_keeps_lengths_root_and_torso(skeleton, rotation, norm):
    _, joints, _, poses = augment(skeleton, rotation, norm)
    before, after = unit_bones(joints, skeleton), unit_bones(poses.bone_angle, skeleton)
    torch.testing.assert_close(after[1], before[1], atol=1e-5, rtol=0)
    torch.testing.assert_close(poses.bone_angle[:, 0], joints[:, 0])
    torso = [skeleton.bone("spine"), skeleton.bone("thorax")]
    torch.testing.assert_close(after[0][:, torso], before[0][:, torso], atol=1e-5, rtol=0)
    others = [b for b in range(len(skeleton.bones)) if b not in torso]
    assert (poses.angle_change[:, others] > 0).all()
    torch.testing.assert_close(poses.angle_change, 1 - (after[0] * before[0]).sum(-1), atol=1e-4, rtol=0)


@every_case
def test_bone_length_keeps_directions_shares_sides_and_leaves_the_upper_torso(skeleton, rotation, norm):
    _, joints, _, poses = augment(skeleton, rotation, norm)
    before, after = unit_bones(poses.bone_angle, skeleton), unit_bones(poses.bone_length, skeleton)
    torch.testing.assert_close(after[0], before[0], atol=1e-4, rtol=0)
    ratio = after[1] / before[1] - 1
    assert 0.01 < ratio.abs().max() <= 0.2 + 1e-4
    assert ratio[:, skeleton.bone("thorax")].abs().max() < 1e-4
    torch.testing.assert_close(ratio, ratio[:, list(skeleton.bone_flip)], atol=1e-4, rtol=0)
    torch.testing.assert_close(poses.bone_length[:, 0], joints[:, 0])


@every_case
def test_the_rotation_is_rigid_about_the_root(skeleton, rotation, norm):
    _, joints, _, poses = augment(skeleton, rotation, norm)
    eye = torch.eye(3).expand(ROWS, 3, 3)
    torch.testing.assert_close(poses.rotation @ poses.rotation.mT, eye, atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(poses.rotation), torch.ones(ROWS), atol=1e-5, rtol=0)
    torch.testing.assert_close(poses.rotated[:, 0], joints[:, 0])
    local = poses.bone_length - joints[:, :1]
    torch.testing.assert_close(poses.rotated - joints[:, :1], local @ poses.rotation.mT, atol=1e-5, rtol=0)
    assert (poses.rotated - poses.bone_length).norm(dim=-1).max() > 0.1


def test_yaw_and_tilt_keep_the_vertical_within_the_tilts_range():
    generator, _, _, _ = augment(H36M_16, "yaw_tilt")
    turns = generator._turn(5 * torch.randn(500, 2))
    upright = turns[:, 1, 1]  # cosine between the vertical axis and its image
    assert upright.min() >= torch.cos(torch.deg2rad(torch.tensor(30.01)))
    assert upright.min() < torch.cos(torch.deg2rad(torch.tensor(29.0)))
    facing = torch.atan2(turns[:, 0, 2], turns[:, 0, 0])
    assert facing.min() < -3
    assert facing.max() > 3


def test_each_head_sees_the_pose_that_the_one_before_made():
    generator, joints, noise, poses = augment(H36M_16, norm="layer")
    other = noise.clone()
    other[0] += 1.0
    with torch.no_grad():
        changed = generator(joints, other)
    assert (changed.length_ratio - poses.length_ratio).abs().max() > 1e-4
    assert (changed.rotation - poses.rotation).abs().max() > 1e-4
    other = noise.clone()
    other[1] += 1.0
    with torch.no_grad():
        changed = generator(joints, other)
    assert torch.equal(changed.bone_angle, poses.bone_angle)
    assert (changed.rotation - poses.rotation).abs().max() > 1e-4
    other = noise.clone()
    other[2] += 1.0
    with torch.no_grad():
        changed = generator(joints, other)
    assert torch.equal(changed.bone_length, poses.bone_length)
    assert (changed.rotation - poses.rotation).abs().max() > 1e-4


def test_where_the_pose_stands_does_not_matter():
    generator, joints, noise, poses = augment(H36M_16)
    place = torch.tensor([0.3, -0.2, 2.0])
    with torch.no_grad():
        moved = generator(joints + place, noise)
    torch.testing.assert_close(moved.rotated, poses.rotated + place, atol=2e-3, rtol=0)


def test_frozen_statistics_hold_for_it_and_change_no_output():
    generator, joints, noise, poses = augment(H36M_16)
    before = {k: v.clone() for k, v in generator.state_dict().items()}
    with torch.no_grad(), frozen_statistics(generator):
        quiet = generator(joints, noise)
    assert torch.equal(quiet.rotated, poses.rotated)
    assert all(torch.equal(before[k], v) for k, v in generator.state_dict().items())


def test_layer_norm_makes_rows_independent():
    generator, joints, noise, poses = augment(H36M_16, norm="layer")
    with torch.no_grad():
        alone = generator(joints[:3], noise[:, :3])
    torch.testing.assert_close(alone.rotated, poses.rotated[:3], atol=1e-4, rtol=0)


@pytest.mark.parametrize("given", [{"rotation": "free"}, {"norm": "group"}])
def test_unknown_options_name_the_known_ones(given):
    with pytest.raises(ValueError, match=r"must be one of .*got"):
        SequentialGenerator(H36M_16, **given)
