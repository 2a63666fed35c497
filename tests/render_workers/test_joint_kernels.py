"""Crops and sampling by kernels against their slow twins in torch."""

from dataclasses import fields, replace

import pytest
import torch

from dg.pose.camera import Camera
from render_workers.crop import Crop, subject_crop
from render_workers.kernels.warp_joints import WarpJoints
from render_workers.sampling import sample_joints
from tests.conftest import make_camera, make_joints
from tests.render_workers.test_sampling import patchy_maps

KERNELS = WarpJoints()


def both_crops(camera, joints_2d):
    arguments = camera, joints_2d, 128, 100.0
    return KERNELS.crop(*arguments), subject_crop(*arguments)


@pytest.mark.parametrize("kind", ["pinhole", "distorted", "mixed", "a point"])
def test_a_crop_is_that_of_torch(kind):
    joints = make_joints(50)
    camera = make_camera(50, kind in ("distorted", "mixed"))
    if kind == "mixed":
        camera = replace(camera, distortion=camera.distortion * (torch.arange(50) % 2)[:, None])
    joints_2d = camera.project(joints)
    if kind == "a point":
        joints_2d = joints_2d[:, :1].expand(-1, 17, -1)
    crop, twin = both_crops(camera, joints_2d)
    for f in fields(Crop):
        assert torch.allclose(getattr(crop, f.name), getattr(twin, f.name), rtol=3e-7, atol=1e-4), f.name
    assert (crop.joints_px - twin.joints_px).abs().max() < 1e-4


def test_a_camera_that_bends_the_image_changes_no_other_row():
    joints, camera = make_joints(8), make_camera(8)
    bent = Camera.concatenate([camera[:4], make_camera(4, distorted=True)])
    plain, _ = both_crops(camera, camera.project(joints))
    mixed, _ = both_crops(bent, bent.project(joints))
    assert torch.equal(plain.joints_px[:4], mixed.joints_px[:4])


@pytest.mark.parametrize("window", [1, 3, 5])
def test_sampling_is_that_of_torch_bit_for_bit(window):
    depth, joints = patchy_maps(200)
    joints[5:9] *= 1e7  # as far away as anything
    depth[10, 5:9, 5:9], depth[11] = torch.nan, torch.nan
    found, twin = KERNELS.sample(depth, joints, window), sample_joints(depth, joints.clamp(-1e6, 1e6), window)
    assert torch.equal(found.widened, twin.widened)
    assert torch.equal(found.depth.isnan(), twin.depth.isnan())
    assert torch.equal(found.depth.nan_to_num(), twin.depth.nan_to_num())
    assert twin.widened.any()
    assert twin.depth.isnan().any()


def test_images_that_are_not_square_are_read_to_their_edges():
    depth = torch.full((1, 6, 20), torch.inf)
    depth[0, 5, 19] = 2.0
    joints = torch.tensor([[[19.5, 5.5], [0.5, 0.5], [30.0, 9.0]]])
    assert KERNELS.sample(depth, joints, 1).depth.tolist() == [[2.0, 2.0, 2.0]]


def test_another_window_is_refused_by_name():
    with pytest.raises(ValueError, match=r"min_pool must be one of \(1, 3, 5\), got 2"):
        KERNELS.sample(torch.ones(1, 8, 8), torch.ones(1, 1, 2), 2)


@pytest.mark.gpu
def test_a_gpu_computes_the_same():
    there, camera, joints = WarpJoints("cuda"), make_camera(50, distorted=True), make_joints(50)
    joints_2d = camera.project(joints)
    crop, here = there.crop(camera.to("cuda"), joints_2d.cuda(), 128, 100.0), both_crops(camera, joints_2d)[0]
    assert torch.allclose(crop.joints_px.cpu(), here.joints_px, atol=1e-3)
    depth, pixels = patchy_maps(50)
    read = there.sample(depth.cuda(), pixels.cuda(), 3)
    assert torch.equal(read.widened.cpu(), KERNELS.sample(depth, pixels, 3).widened)
    assert torch.allclose(read.depth.cpu(), KERNELS.sample(depth, pixels, 3).depth, atol=1e-6, equal_nan=True)
