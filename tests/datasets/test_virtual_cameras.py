"""Held-out people seen by other cameras: rigid moves of the same poses, in the frame, from honest sides."""

from dataclasses import replace

import pytest
import torch

from dg.augment.viewpoint import view_quantities
from dg.datasets.base import PoseDataset
from dg.datasets.virtual_cameras import NAME, seen_by_virtual_cameras, vertical
from dg.pose.batch import PoseBatch
from dg.pose.camera import Camera
from dg.pose.rotation import rotation_from_axis_angle
from dg.pose.skeleton import H36M_17
from tests.conftest import STANDING_17, make_camera, make_joints


def people(rows=60, pitch=0.0):
    """Clips of ten frames. pitch: radians by which the camera looks down."""
    joints = make_joints(rows, 17, noise=0.03)
    turn = rotation_from_axis_angle(torch.tensor([pitch, 0.0, 0.0]))
    poses = PoseBatch.from_joints((joints @ turn.mT)[:, None], make_camera(rows), H36M_17)
    numbers = torch.arange(rows)
    zero = torch.zeros(rows, dtype=torch.long)
    return PoseDataset("mine", poses, zero, zero, numbers // 10, ("A",), ("x",), 30.0, "digest")


def test_every_clip_is_seen_by_each_camera_and_the_bodies_stay_what_they_are():
    dataset = people()
    seen = seen_by_virtual_cameras(dataset, dataset.poses, 3)
    assert (seen.name, len(seen), len(seen.clip.unique())) == (NAME, 180, 18)
    before = torch.cdist(dataset.poses.joints_3d[:, 0], dataset.poses.joints_3d[:, 0]).repeat(3, 1, 1)
    after = torch.cdist(seen.poses.joints_3d[:, 0], seen.poses.joints_3d[:, 0])
    torch.testing.assert_close(after, before, atol=3e-3, rtol=0)
    torch.testing.assert_close(seen.poses.camera.project(seen.poses.joints_3d), seen.poses.joints_2d)
    # Proper rotations: nobody is mirrored.
    volumes = [torch.linalg.det(poses.root_relative[:, 0, [1, 8, 13]]) for poses in (dataset.poses, seen.poses)]
    torch.testing.assert_close(volumes[1], volumes[0].repeat(3), atol=1e-4, rtol=1e-3)


def test_people_are_in_the_frame_from_many_sides_and_heights():
    dataset = people(200)
    seen = seen_by_virtual_cameras(dataset, dataset.poses, 8)
    assert seen.poses.camera.in_frame(seen.poses.joints_3d).float().mean() > 0.98
    views = view_quantities(seen.poses)
    assert views["elevation_deg"].std() > 8
    assert views["azimuth_deg"].std() > 80
    assert seen.poses.camera.focal.std() > 0.2
    assert (views["tilt_deg"] < 75).all()


def test_it_is_the_same_for_every_run():
    dataset = people()
    first, second = (seen_by_virtual_cameras(dataset, dataset.poses, 2) for _ in range(2))
    assert first.digest == second.digest
    assert seen_by_virtual_cameras(dataset, dataset.poses, 2, seed=1).digest != first.digest


@pytest.mark.parametrize("pitch", [-0.4, 0.0, 0.3])
def test_up_is_found_whatever_way_the_camera_looks(pitch):
    dataset = people(400, pitch)
    up = vertical(dataset.poses, dataset.poses)
    trunk = (STANDING_17[8] - STANDING_17[0])[None]
    expected = torch.nn.functional.normalize(
        trunk @ rotation_from_axis_angle(torch.tensor([pitch, 0.0, 0.0])).mT, dim=-1
    )
    assert (up @ expected[0]).min() > 0.995


def test_a_camera_that_saw_nobody_takes_the_mean_of_all():
    dataset = people()
    camera = dataset.poses.camera
    other = replace(dataset.poses, camera=Camera(camera.focal * 1.1, camera.center, camera.distortion, camera.extent))
    torch.testing.assert_close(vertical(other, dataset.poses), vertical(dataset.poses, dataset.poses))
