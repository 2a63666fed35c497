"""Rotations: laws, special cases, derivatives."""

import math

import pytest
import torch

from dg.pose.rotation import (
    cross_matrix,
    minimal_rotation,
    procrustes_rotation,
    rotation_about_axis,
    rotation_from_axis_angle,
    rotation_from_quaternion,
    rotation_from_turns,
)

DOUBLE = torch.float64
ANGLES = (0.0, 1e-9, 1e-7, 1e-4, 1e-2, 1.0, 3.0, math.pi, 6.0)


def unit(*shape, dtype=DOUBLE):
    return torch.nn.functional.normalize(torch.randn(*shape, 3, dtype=dtype), dim=-1)


def assert_rotation(matrix, atol=1e-9):
    eye = torch.eye(3, dtype=matrix.dtype).expand_as(matrix)
    torch.testing.assert_close(matrix @ matrix.transpose(-1, -2), eye, atol=atol, rtol=0)
    torch.testing.assert_close(
        torch.linalg.det(matrix), torch.ones(matrix.shape[:-2], dtype=matrix.dtype), atol=atol, rtol=0
    )


def test_the_cross_matrix_takes_the_cross_product():
    a, b = torch.randn(2, 7, 3)
    torch.testing.assert_close((cross_matrix(a) @ b[..., None])[..., 0], torch.linalg.cross(a, b))


@pytest.mark.parametrize("angle", ANGLES)
@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-5), (DOUBLE, 1e-12)])
def test_axis_angle_agrees_with_the_matrix_exponential(angle, dtype, atol):
    rotvec = angle * unit(8, dtype=dtype)
    rotation = rotation_from_axis_angle(rotvec)
    assert_rotation(rotation, atol)
    torch.testing.assert_close(rotation, torch.linalg.matrix_exp(cross_matrix(rotvec)), atol=atol, rtol=0)


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_a_turn_about_a_coordinate_axis_is_the_axis_angle_rotation_to_the_last_bit(axis, dtype):
    angle = torch.cat([torch.tensor(ANGLES, dtype=dtype), 3 * torch.randn(501, dtype=dtype)])
    rotvec = torch.zeros(len(angle), 3, dtype=dtype)
    rotvec[:, axis] = angle
    assert torch.equal(rotation_about_axis(angle, axis), rotation_from_axis_angle(rotvec))


@pytest.mark.parametrize("angle", ANGLES[1:])
def test_axis_angle_has_the_right_derivatives(angle):
    rotvec = (angle * unit(2)).requires_grad_()
    assert torch.autograd.gradcheck(rotation_from_axis_angle, (rotvec,), eps=1e-6, atol=1e-5)


def test_axis_angle_is_differentiable_at_no_rotation():
    rotvec = torch.zeros(1, 3, requires_grad=True)
    rotation_from_axis_angle(rotvec)[0, 2, 1].backward()
    torch.testing.assert_close(rotvec.grad, torch.tensor([[1.0, 0.0, 0.0]]))


def test_convention_a_positive_angle_about_z_turns_x_towards_y():
    rotation = rotation_from_axis_angle(torch.tensor([0.0, 0.0, math.pi / 2]))
    torch.testing.assert_close(rotation @ torch.tensor([1.0, 0, 0]), torch.tensor([0.0, 1, 0]), atol=1e-6, rtol=0)


def test_convention_quaternions_are_in_w_x_y_z_order_and_agree_with_axis_angle():
    axis, angle = unit(9), torch.linspace(0.1, 6, 9, dtype=DOUBLE)[:, None]
    quaternion = torch.cat([(angle / 2).cos(), axis * (angle / 2).sin()], -1)
    torch.testing.assert_close(rotation_from_quaternion(quaternion), rotation_from_axis_angle(axis * angle))


def test_a_quaternion_its_negative_and_its_multiple_are_one_rotation():
    quaternion = torch.randn(6, 4, dtype=DOUBLE)
    rotation = rotation_from_quaternion(quaternion)
    assert_rotation(rotation)
    torch.testing.assert_close(rotation_from_quaternion(-quaternion), rotation)
    torch.testing.assert_close(rotation_from_quaternion(3 * quaternion), rotation)


def test_the_minimal_rotation_turns_one_direction_into_the_other_by_the_angle_between_them():
    a, b = unit(200), unit(200)
    rotation = minimal_rotation(a, b)
    assert_rotation(rotation)
    torch.testing.assert_close((rotation @ a[..., None])[..., 0], b)
    angle = ((rotation.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2).clamp(-1, 1).acos()
    torch.testing.assert_close(angle, (a * b).sum(-1).clamp(-1, 1).acos(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("gap", [0.0, 1e-12, 1e-8, 1e-5, 1e-3])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_minimal_rotation_is_sound_near_equal_and_opposite_directions(gap, sign):
    a = torch.cat([unit(50), torch.eye(3, dtype=DOUBLE)])
    b = torch.nn.functional.normalize(sign * a + gap * unit(53), dim=-1)
    rotation = minimal_rotation(a, b)
    assert_rotation(rotation, 1e-6)
    # Within a thousandth of opposite the axis is taken as free, which costs at most that much.
    torch.testing.assert_close((rotation @ a[..., None])[..., 0], b, atol=2e-3, rtol=0)


def test_the_minimal_rotation_of_equal_directions_is_none():
    a = unit(5)
    torch.testing.assert_close(minimal_rotation(a, a), torch.eye(3, dtype=DOUBLE).expand(5, 3, 3))


def test_procrustes_recovers_a_rotation_from_any_points_it_turned():
    rotation = rotation_from_axis_angle(3 * torch.rand(40, 3, dtype=DOUBLE))
    source = torch.randn(40, 6, 3, dtype=DOUBLE)
    target = source @ rotation.transpose(-1, -2)
    torch.testing.assert_close(procrustes_rotation(target.transpose(-1, -2) @ source), rotation)


def test_procrustes_never_mirrors_and_is_never_beaten():
    m = torch.randn(200, 3, 3, dtype=DOUBLE)
    best = procrustes_rotation(m)
    assert_rotation(best)
    score = (best * m).sum((-1, -2))
    other = rotation_from_axis_angle(4 * torch.randn(100, 200, 3, dtype=DOUBLE))
    assert ((other * m).sum((-1, -2)) <= score + 1e-9).all()


def test_turns_are_one_after_the_other():
    yaw, pitch, roll = (torch.rand(3, 50, 2, dtype=torch.float64) * 2 - 1) * math.pi
    zero = torch.zeros_like(yaw)
    one_by_one = (
        rotation_from_axis_angle(torch.stack([zero, zero, roll], -1))
        @ rotation_from_axis_angle(torch.stack([pitch, zero, zero], -1))
        @ rotation_from_axis_angle(torch.stack([zero, yaw, zero], -1))
    )
    torch.testing.assert_close(rotation_from_turns(yaw, pitch, roll), one_by_one, atol=1e-12, rtol=0)
