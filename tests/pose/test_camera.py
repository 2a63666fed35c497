"""Cameras: projection, its inverse, pixel normalisation, the frame, and the released code's numbers."""

import numpy as np
import pytest
import torch

from dg.datasets import h36m_cameras
from dg.pose.camera import (
    Camera,
    camera_to_world,
    denormalise_pixels,
    normalise_pixels,
    world_to_camera,
)
from tests.conftest import make_camera, make_joints

SIZES = {"landscape": (1920.0, 1080.0), "portrait": (1080.0, 1920.0), "square": (1000.0, 1000.0)}


def pinhole(rows, dtype=torch.float32):
    return Camera(
        *[torch.tensor(v, dtype=dtype).expand(rows, len(v)) for v in ([2.0, 2.1], [0.1, -0.05], [0.0] * 5, [1.0, 1.0])]
    )


def test_without_distortion_the_projection_is_the_pinhole():
    camera, joints = make_camera(6), make_joints(6)
    expected = joints[..., :2] / joints[..., 2:] * camera.focal[:, None] + camera.center[:, None]
    torch.testing.assert_close(camera.project(joints), expected)


@pytest.mark.parametrize("derivative", [False, True])
def test_a_camera_that_is_known_to_bend_nothing_projects_to_the_same_bits_in_fewer_operations(derivative):
    known, unknown, ratio = make_camera(6), make_camera(6), torch.randn(6, 17, 2).requires_grad_()
    unknown.__dict__["pinhole"] = False
    assert known.pinhole
    projected = [camera.distort(ratio) for camera in (known, unknown)]
    if derivative:
        projected = [torch.autograd.grad((2 * p).sin().sum(), ratio)[0] for p in projected]
    assert torch.equal(*projected)


def test_projection_agrees_with_its_formula_written_for_one_point():
    """Slow twin of the batched projection, METHODS 1.5."""
    camera, joints = h36m_cameras.intrinsics(), make_joints(4)
    for row in range(4):
        k1, k2, k3, p1, p2 = camera.distortion[row].tolist()
        for joint in (0, 3, 10, 16):
            x, y, z = joints[row, joint].tolist()
            u, v = min(max(x / z, -1), 1), min(max(y / z, -1), 1)
            r2 = u * u + v * v
            gain = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3 + p1 * u + p2 * v
            fx, fy = camera.focal[row].tolist()
            cx, cy = camera.center[row].tolist()
            expected = [fx * (u * gain + p1 * r2) + cx, fy * (v * gain + p2 * r2) + cy]
            assert camera.project(joints)[row, joint].tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("distorted", [False, True])
@pytest.mark.parametrize("axes", [(), (3,), (2, 3)])
def test_projection_takes_any_axes_between_batch_and_coordinates(distorted, axes):
    camera, points = make_camera(4, distorted), torch.randn(4, *axes, 3) + torch.tensor([0, 0, 5.0])
    whole = camera.project(points)
    assert whole.shape == (4, *axes, 2)
    for row in range(4):
        torch.testing.assert_close(camera[row : row + 1].project(points[row : row + 1]), whole[row : row + 1])


def test_unprojection_inverts_the_distortion_over_the_whole_frame():
    camera = h36m_cameras.intrinsics()
    grid = torch.cartesian_prod(torch.linspace(-1, 1, 21), torch.linspace(-1, 1, 21)).expand(4, -1, 2)
    ratio = camera.unproject(grid)
    torch.testing.assert_close(camera.distort(ratio), grid, atol=1e-5, rtol=0)
    torch.testing.assert_close(pinhole(1).distort(pinhole(1).unproject(grid[:1])), grid[:1])


def test_projection_has_the_right_derivatives_away_from_saturation():
    camera = make_camera(2, distorted=True).to(torch.float64)
    joints = make_joints(2).double()[:, :4].requires_grad_()
    assert torch.autograd.gradcheck(camera.project, (joints,))


def test_points_behind_or_beside_the_camera_project_to_something_finite_that_is_not_in_the_frame():
    camera = pinhole(1)
    for point in ([0.0, 0.0, 0.0], [0.0, 0.0, -4.0], [1.0, 1.0, 1e-9], [50.0, 0.0, 1.0], [0.0, 0.0, 0.2]):
        points = torch.tensor([[point]])
        assert camera.project(points).isfinite().all()
        assert not camera.in_frame(points).any()


@pytest.mark.parametrize("direction", [(1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0)])
def test_the_frame_ends_at_all_four_sides(direction):
    camera = Camera.from_pixels(*[torch.tensor([v]) for v in ([1000.0, 1000.0], [500.0, 300.0], [1000.0, 600.0])])
    edge = 4.0 * camera.extent[0] * torch.tensor(direction) / camera.focal[0]
    for share, inside in ((0.99, True), (1.01, False)):
        points = torch.cat([share * edge, torch.tensor([4.0])])[None, None]
        assert bool(camera.in_frame(points)) is inside


def test_one_joint_outside_puts_the_pose_outside():
    joints = make_joints(3)
    joints[1, 16, 0] = 30.0
    assert make_camera(3).in_frame(joints).tolist() == [True, False, True]


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES.keys())
@pytest.mark.parametrize("longer_side", [False, True])
def test_pixels_survive_normalisation_and_back(size, longer_side):
    size_px = torch.tensor(size).expand(5, 2)
    pixels = torch.rand(5, 1, 17, 2) * size_px[:, None, None]
    normalised = normalise_pixels(pixels, size_px, longer_side)
    torch.testing.assert_close(denormalise_pixels(normalised, size_px, longer_side), pixels, atol=1e-3, rtol=1e-6)
    side = max(size) if longer_side else size[0]
    assert (normalised.abs() <= size_px[:, None, None] / side + 1e-6).all()


def test_convention_normalised_coordinates_span_the_width_and_keep_the_aspect():
    size = torch.tensor([[1000.0, 1002.0]])
    corners = torch.tensor([[[0.0, 0.0], [1000.0, 1002.0], [500.0, 501.0]]])
    expected = torch.tensor([[[-1.0, -1.002], [1.0, 1.002], [0.0, 0.0]]])
    torch.testing.assert_close(normalise_pixels(corners, size), expected)
    portrait = normalise_pixels(torch.tensor([[[1080.0, 1920.0]]]), torch.tensor([[1080.0, 1920.0]]), longer_side=True)
    torch.testing.assert_close(portrait, torch.tensor([[[0.5625, 1.0]]]))


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES.keys())
@pytest.mark.parametrize("longer_side", [False, True])
def test_a_camera_from_pixels_projects_to_the_pixels_of_the_textbook(size, longer_side):
    focal, size_px = torch.tensor([[1100.0, 1090.0]]), torch.tensor([size])
    center = size_px / 2 + torch.tensor([[12.0, -7.0]])
    camera = Camera.from_pixels(focal, center, size_px, longer_side=longer_side)
    point = torch.tensor([[0.3, -0.4, 4.0]])
    pixels = denormalise_pixels(camera.project(point), size_px, longer_side)
    torch.testing.assert_close(pixels, focal * point[:, :2] / point[:, 2:] + center)


def test_convention_x_points_right_y_down_and_z_away():
    camera = Camera.from_pixels(*[torch.tensor([v]) for v in ([1000.0] * 2, [500.0] * 2, [1000.0] * 2)])
    right, below = camera.project(torch.tensor([[[1.0, 0.0, 4.0], [0.0, 1.0, 4.0]]]))[0]
    torch.testing.assert_close(right, torch.tensor([0.5, 0.0]))
    torch.testing.assert_close(below, torch.tensor([0.0, 0.5]))
    farther = camera.project(torch.tensor([[1.0, 0.0, 8.0]]))[0]
    torch.testing.assert_close(farther, torch.tensor([0.25, 0.0]))


def test_convention_human36m_focal_lengths_are_about_2_29():
    camera = h36m_cameras.intrinsics()
    assert ((camera.focal > 2.285) & (camera.focal < 2.30)).all()
    assert camera.center.abs().max() < 0.05


def test_world_to_camera_and_back_is_the_identity():
    points, orientation, position = torch.randn(7, 5, 3), torch.randn(7, 1, 4), torch.randn(7, 1, 3)
    seen = world_to_camera(points, orientation, position)
    torch.testing.assert_close(camera_to_world(seen, orientation, position), points, atol=1e-5, rtol=0)
    distance = (points - position).norm(dim=-1)
    torch.testing.assert_close(seen.norm(dim=-1), distance, atol=1e-5, rtol=0)


def test_convention_the_camera_stands_at_its_own_origin():
    position = torch.tensor([1.0, 2.0, 3.0])
    seen = world_to_camera(position[None], torch.tensor([0.3, 0.1, -0.5, 0.2]), position)
    torch.testing.assert_close(seen, torch.zeros(1, 3))


def test_cameras_concatenate_slice_and_move_together():
    camera = make_camera(5, distorted=True)
    joined = Camera.concatenate([camera[:2], camera[torch.tensor([2, 3, 4])]])
    for name in ("focal", "center", "distortion", "extent"):
        assert torch.equal(getattr(joined, name), getattr(camera, name))
    assert camera.to(torch.float64).focal.dtype == torch.float64


@pytest.mark.parametrize("wrong", [{"focal_px": -1.0}, {"focal_px": 0.0}, {"size_px": 0.0}, {"focal_px": float("nan")}])
def test_impossible_intrinsics_are_refused(wrong):
    values = {"focal_px": 1000.0, "center_px": 500.0, "size_px": 1000.0} | wrong
    with pytest.raises(ValueError, match="positive"):
        Camera.from_pixels(**{k: torch.full((1, 2), v) for k, v in values.items()})


@pytest.mark.shared
@pytest.mark.parametrize("view", range(4))
def test_the_released_codes_camera_numbers_are_met(shared, view):
    golden = np.load(shared / "conformance" / "poseaug_golden.npz", allow_pickle=False)
    seen = h36m_cameras.see(torch.from_numpy(golden["world"]).float(), "S1")[view]
    np.testing.assert_allclose(seen, golden[f"cam{view}_camera_frame"], atol=1e-5)
    camera = h36m_cameras.intrinsics()[torch.full((len(seen),), view)]
    np.testing.assert_allclose(camera.project(seen), golden[f"cam{view}_projected"], atol=1e-5)
