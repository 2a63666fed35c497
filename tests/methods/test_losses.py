"""METHODS 2.4 and 12.8."""

import pytest
import torch

from dg.methods import losses
from dg.pose.skeleton import H36M_16, H36M_17


def test_the_range_loss_is_zero_inside_its_dead_zone_and_the_squared_distance_outside():
    values = torch.tensor([0.205, 0.041, 0.369])
    assert losses.outside_range(values, 0.205, 0.165) == 0
    assert losses.outside_range(torch.tensor([0.205 + 0.166]), 0.205, 0.165).item() == pytest.approx(0.166**2, rel=1e-5)
    assert losses.outside_range(torch.tensor([0.0, 0.205]), 0.205, 0.165).item() == pytest.approx(0.205**2 / 2)


def test_bone_angle_loss_looks_at_a_poses_mean_change():
    assert losses.bone_angle_loss(torch.tensor([[0.0, 0.4]])) == 0
    assert losses.bone_angle_loss(torch.tensor([[0.0, 0.0]])).item() == pytest.approx(0.205**2)


def test_bone_length_loss_is_a_rectified_square():
    assert losses.bone_length_loss(torch.tensor([[0.099, -0.099, 0.0]])) == 0
    assert losses.bone_length_loss(torch.tensor([[0.2, -0.15]])).item() == pytest.approx((0.04 + 0.0225) / 2)


def test_lsgan_terms_are_zero_for_a_perfect_discriminator_and_a_perfect_generator():
    one, zero = torch.ones(4, 5), torch.zeros(4, 5)
    assert losses.lsgan_discriminator(one, zero) == 0
    assert losses.lsgan_generator(one) == 0
    assert losses.lsgan_discriminator(zero, one) == 1
    assert losses.lsgan_generator(zero) == 0.5


def test_joint_groups_are_the_released_ones_on_16_joints():
    weights = torch.tensor([1.0, 5, 2, 1, 5, 2, 1, 1, 1, 1, 5, 2, 1, 5, 2, 1])
    errors = torch.rand(7, 16)
    groups = ([1, 4, 10, 13], [2, 5, 9, 11, 14], [3, 6, 12, 15])
    expected = torch.stack([(errors * weights)[:, group].mean(-1) for group in groups], -1)
    torch.testing.assert_close(errors @ losses.joint_group_matrix(H36M_16), expected)


def test_the_neck_of_17_joints_belongs_to_no_group():
    matrix = losses.joint_group_matrix(H36M_17)
    others = [i for i, name in enumerate(H36M_17.joints) if name != "neck"]
    assert matrix[H36M_17.index("neck")].abs().max() == 0
    assert torch.equal(matrix[others], losses.joint_group_matrix(H36M_16))


def test_the_released_feedback_wants_errors_up_to_five_times_the_original():
    original = torch.ones(2, 3)
    assert losses.feedback_ratio(4.9 * original, original, 3.0, 2.0) == 0
    assert losses.feedback_ratio(6.0 * original, original, 3.0, 2.0).item() == pytest.approx(9.0)
    assert losses.feedback_ratio(0.5 * original, original, 3.0, 2.0).item() == pytest.approx(6.25)


def test_the_papers_feedback_is_zero_where_the_error_is_beta_times_the_original():
    original = torch.tensor([0.05, 0.1])
    assert losses.feedback_exponential(3 * original, original, 3.0) == 0
    assert losses.feedback_exponential(4 * original, original, 3.0) > 0
