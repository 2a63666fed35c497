import pytest
import torch

from render_workers.crop import subject_crop
from tests.conftest import make_camera, make_joints


@pytest.mark.parametrize("distorted", [False, True])
def test_the_crop_shows_each_joint_where_a_pinhole_would(distorted):
    joints, camera = make_joints(20), make_camera(20, distorted)
    crop = subject_crop(camera, camera.project(joints), 128, 100.0)
    pinhole = crop.focal_px[:, None] * joints[..., :2] / joints[..., 2:] + crop.center_px[:, None]
    assert torch.allclose(crop.joints_px, pinhole, atol=0.01)


@pytest.mark.parametrize(("resolution", "span"), [(128, 100.0), (128, 80.0), (64, 50.0)])
def test_the_longer_side_of_the_joints_box_spans_what_was_asked_in_the_middle(resolution, span):
    camera = make_camera(20)
    crop = subject_crop(camera, camera.project(make_joints(20)), resolution, span)
    low, high = crop.joints_px.amin(1), crop.joints_px.amax(1)
    assert torch.allclose((high - low).amax(-1), torch.tensor(span), atol=1e-3)
    assert torch.allclose((low + high) / 2, torch.tensor(resolution / 2), atol=1e-3)
    assert torch.equal(crop.focal_px[:, 0], crop.focal_px[:, 1])


def test_zoom_is_one_where_the_crop_is_the_frame():
    camera = make_camera(1)
    joints_2d = torch.tensor([[[-0.5, 0.0], [0.5, 0.0]]])
    crop = subject_crop(camera, joints_2d, 128, 64.0)
    assert crop.zoom.item() == pytest.approx(1.0, rel=1e-3)
    assert subject_crop(camera, joints_2d / 2, 128, 64.0).zoom.item() == pytest.approx(2.0, rel=1e-3)


def test_joints_in_one_point_give_a_finite_crop_around_it():
    crop = subject_crop(make_camera(1), torch.full((1, 17, 2), 0.3), 128, 100.0)
    assert crop.focal_px.isfinite().all()
    assert torch.allclose(crop.joints_px, torch.tensor(64.0), atol=1e-2)
