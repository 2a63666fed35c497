"""From where a person is seen, on made poses."""

import math

import pytest
import torch

from dg.analyse.viewpoints import described
from dg.augment.viewpoint import body_frame, viewpoint_deg
from dg.pose.batch import PoseBatch
from dg.pose.rotation import rotation_from_axis_angle
from dg.pose.skeleton import H36M_16, H36M_17
from tests.conftest import STANDING_17, make_camera, make_joints

UP = torch.tensor([0.0, -1.0, 0.0])


def turned(joints: torch.Tensor, axis: torch.Tensor, degrees: float) -> torch.Tensor:
    """Each pose about its root. axis: `[3]` or `[poses, 3]`, unit, the frame of the joints."""
    rotation = rotation_from_axis_angle(axis.expand(len(joints), 3) * math.radians(degrees))
    root = joints[:, :1]
    return (joints - root) @ rotation.mT + root


def upright() -> torch.Tensor:
    """A person exactly upright on the camera's axis, facing it."""
    person = STANDING_17.clone()
    person[8, 2] = 0.0
    return (person + torch.tensor([0.0, 0.0, 4.0]))[None]


def angle_between(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a - b + 180) % 360 - 180


@pytest.mark.parametrize(
    ("turn_deg", "azimuth"), [(0.0, 0.0), (-90.0, 90.0), (90.0, -90.0), (-45.0, 45.0), (179.0, -179.0)]
)
def test_turning_left_shows_the_right_side(turn_deg, azimuth):
    found, elevation = viewpoint_deg(turned(upright(), UP, turn_deg), H36M_17)
    assert float(found) == pytest.approx(azimuth, abs=1e-3)
    assert float(elevation) == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize("pitch_deg", [-60.0, -10.0, 30.0, 80.0])
def test_who_bows_to_the_camera_is_seen_from_above(pitch_deg):
    left = torch.tensor([1.0, 0.0, 0.0])
    azimuth, elevation = viewpoint_deg(turned(upright(), left, pitch_deg), H36M_17)
    assert float(elevation) == pytest.approx(pitch_deg, abs=1e-3)
    assert float(azimuth) == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize("degrees", [-120.0, -3.0, 17.0, 90.0])
@pytest.mark.parametrize("skeleton", [H36M_16, H36M_17], ids=lambda s: s.name)
def test_any_pose_turned_about_its_own_trunk_moves_by_that_angle(skeleton, degrees):
    joints = make_joints(60, len(skeleton), noise=0.08).double()
    before = viewpoint_deg(joints, skeleton)
    after = viewpoint_deg(turned(joints, body_frame(joints, skeleton)[:, 1], degrees), skeleton)
    torch.testing.assert_close(
        angle_between(before[0], after[0]), torch.full((60,), degrees).double(), atol=1e-6, rtol=0
    )
    torch.testing.assert_close(after[1], before[1], atol=1e-6, rtol=0)


def test_the_persons_frame_is_a_proper_rotation():
    frame = body_frame(make_joints(50, noise=0.1).double(), H36M_17)
    torch.testing.assert_close(frame @ frame.mT, torch.eye(3).double().expand(50, 3, 3))
    assert (torch.linalg.det(frame) > 0.99).all()


def test_distance_does_not_matter_and_the_mirror_image_is_seen_from_the_other_side():
    poses = PoseBatch.from_joints(make_joints(40, noise=0.05)[:, None], make_camera(40), H36M_17)
    joints = poses.joints_3d[:, 0]
    azimuth, elevation = viewpoint_deg(joints, H36M_17)
    farther = joints + joints[:, :1] * 0.5
    for moved, sign in ((farther, 1.0), (poses.flip().joints_3d[:, 0], -1.0)):
        found, height = viewpoint_deg(moved, H36M_17)
        torch.testing.assert_close(found, sign * azimuth, atol=1e-2, rtol=0)
        torch.testing.assert_close(height, elevation, atol=1e-2, rtol=0)


def test_a_pose_is_described_by_its_viewpoint_and_its_roots_place():
    poses = PoseBatch.from_joints(make_joints(10)[:, None], make_camera(10), H36M_17)
    found = described(poses)
    root = torch.stack([found[f"root_{axis}_m"] for axis in "xyz"], -1)
    assert torch.equal(root, poses.joints_3d[:, 0, 0])
    assert torch.equal(found["azimuth_deg"], viewpoint_deg(poses.joints_3d[:, 0], H36M_17)[0])
