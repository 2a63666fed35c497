"""Cameras of photographs, and the depth of a photograph under them."""

import numpy as np
import pytest
import torch

from dg.images.depth_choice import choose_depth
from dg.predict.cameras import image_camera
from dg.predict.image_depth import ImageDepth
from dg.predict.settings import PredictOptions
from render_workers.depth.depth_anything_v2 import HYPERSIM_FOCAL
from tests.render_workers.depth_anything_maker import save_depth_anything


def test_cameras_from_focal_length_field_of_view_and_intrinsics_agree():
    size = (640, 480)
    fov = 2 * np.degrees(np.arctan(320 / 500))
    ways = {"focal": 500.0, "fov": float(fov), "camera": "500,500,320,240"}
    found = [
        image_camera(size, PredictOptions(images="x", checkpoint="y", **{k: v}), 2.29).normalised
        for k, v in ways.items()
    ]
    for camera in found:
        assert torch.allclose(camera.focal, torch.full((1, 2), 2 * 500 / 640))
        assert torch.allclose(camera.center, torch.zeros(1, 2), atol=1e-6)
        assert torch.allclose(camera.extent, torch.tensor([[1.0, 0.75]]))
    bent = image_camera(
        size, PredictOptions(images="x", checkpoint="y", camera="500,501,310,250,-.2,.2,0,0,0"), 2.29
    ).normalised
    assert torch.allclose(bent.center, torch.tensor([[-10 / 320, 10 / 320]]))
    assert bent.distortion[0].tolist() == pytest.approx([-0.2, 0.2, 0, 0, 0])
    portrait = image_camera((480, 640), PredictOptions(images="x", checkpoint="y"), 2.29)
    assert portrait.focal_px == pytest.approx((2.29 * 320,) * 2)
    assert torch.allclose(portrait.normalised.extent, torch.tensor([[0.75, 1.0]]))


def test_depth_of_an_image_grows_with_the_focal_length_and_disparity_is_refused(tmp_path):
    network = save_depth_anything(tmp_path / "depth")
    depth = ImageDepth(choose_depth({"checkpoint": str(network), "input_px": 70}), torch.device("cpu"))
    image = np.random.default_rng(0).integers(0, 255, (360, 480, 3), dtype=np.uint8)
    cameras = [
        image_camera((480, 360), PredictOptions(images="x", checkpoint="y", focal=f), 2.29)
        for f in (HYPERSIM_FOCAL * 360, 831.4)
    ]
    plain, zoomed = (depth(image, camera) for camera in cameras)
    own = depth.source.estimate_images(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255)[0].numpy()
    assert np.allclose(plain, own, rtol=1e-4)
    assert np.allclose(zoomed, plain * 831.4 / (HYPERSIM_FOCAL * 360), rtol=1e-5)
    relative = save_depth_anything(tmp_path / "relative", metric=False)
    with pytest.raises(ValueError, match=r"disparity.*depth.checkpoint=FOLDER"):
        ImageDepth(choose_depth({"checkpoint": str(relative)}), torch.device("cpu"))
