"""Bones: joints to bone vectors and back."""

import pytest
import torch

from dg.pose.bones import bone_lengths, bone_vectors, joints_from_bones, unit_bones, with_bone_lengths
from dg.pose.rotation import rotation_from_axis_angle
from dg.pose.skeleton import H36M_16, H36M_17, SKELETONS
from tests.conftest import STANDING_17, make_joints


@pytest.mark.parametrize("name", sorted(SKELETONS))
def test_bones_lead_back_to_the_root_relative_pose(name):
    skeleton = SKELETONS[name]
    joints = torch.randn(5, 2, len(skeleton), 3, dtype=torch.float64)
    back = joints_from_bones(bone_vectors(joints, skeleton), skeleton)
    root = joints[..., skeleton.root : skeleton.root + 1, :]
    torch.testing.assert_close(back, joints - root, atol=1e-12, rtol=0)


def test_bones_lead_back_to_the_pose_in_float32_to_a_micrometre():
    joints = make_joints(50)
    back = joints_from_bones(bone_vectors(joints, H36M_17), H36M_17)
    torch.testing.assert_close(back, joints - joints[:, :1], atol=1e-6, rtol=0)


def test_bone_vectors_agree_with_the_bone_matrix():
    joints = make_joints(4)
    torch.testing.assert_close(bone_vectors(joints, H36M_17), H36M_17.bone_matrix() @ joints, atol=1e-6, rtol=0)


def test_convention_a_bone_points_from_parent_to_child():
    shin = bone_vectors(STANDING_17, H36M_17)[H36M_17.bone("left_ankle")]
    torch.testing.assert_close(shin, STANDING_17[6] - STANDING_17[5])
    assert shin[1] > 0.4, "the ankle is below the knee, and y points down"


def test_lengths_are_invariant_to_rigid_motion_and_scale_with_the_body():
    joints = make_joints(6)
    moved = joints @ rotation_from_axis_angle(torch.tensor([0.3, -1.0, 2.0])).T + torch.tensor([1.0, 2.0, 3.0])
    lengths = bone_lengths(joints, H36M_17)
    torch.testing.assert_close(bone_lengths(moved, H36M_17), lengths, atol=1e-5, rtol=0)
    torch.testing.assert_close(bone_lengths(1.3 * joints, H36M_17), 1.3 * lengths)


def test_new_lengths_are_met_and_directions_and_root_kept():
    joints = make_joints(6, joints=16)
    wanted = bone_lengths(joints, H36M_16) * (0.8 + 0.4 * torch.rand(6, 15))
    changed = with_bone_lengths(joints, wanted, H36M_16)
    torch.testing.assert_close(bone_lengths(changed, H36M_16), wanted, atol=1e-5, rtol=0)
    torch.testing.assert_close(unit_bones(changed, H36M_16)[0], unit_bones(joints, H36M_16)[0], atol=1e-4, rtol=0)
    assert torch.equal(changed[:, 0], joints[:, 0])
    torch.testing.assert_close(
        with_bone_lengths(joints, bone_lengths(joints, H36M_16), H36M_16), joints, atol=1e-5, rtol=0
    )


def test_a_bone_of_zero_length_has_no_direction_and_no_nan_in_value_or_gradient():
    joints = make_joints(2)
    joints[0, 3] = joints[0, 2]
    joints.requires_grad_()
    units, lengths = unit_bones(joints, H36M_17)
    assert lengths[0, 2] == 0
    assert torch.equal(units[0, 2], torch.zeros(3))
    (units[1].sum() + lengths[1].sum()).backward()
    assert joints.grad.isfinite().all()
