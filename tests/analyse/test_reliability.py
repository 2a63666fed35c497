"""Distance of detected 2D from the truth, in pixels."""

import pytest
import torch

from dg.analyse.reliability import Reliability, detection_error_px
from dg.settings.plugins import make_options


def truth(frames: int = 4) -> torch.Tensor:
    return torch.rand(frames, 17, 2, generator=torch.Generator().manual_seed(0))


def test_a_shift_is_found_in_pixels_of_the_side():
    """The side spans 2, so 0.02 are 10 pixels of 1000."""
    shifted = truth() + torch.tensor([0.012, 0.016])
    torch.testing.assert_close(detection_error_px(shifted, truth(), 1000.0), torch.full((4,), 10.0), atol=1e-3, rtol=0)
    torch.testing.assert_close(detection_error_px(shifted, truth(), 2048.0), torch.full((4,), 20.48), atol=1e-3, rtol=0)


@pytest.mark.parametrize(("pixels", "counts"), [(99.0, True), (101.0, False)])
def test_joints_more_than_a_hundred_pixels_off_are_ignored(pixels, counts):
    found = truth()
    found[0, 3, 0] += pixels / 500
    error = detection_error_px(found, truth(), 1000.0)
    assert float(error[0]) == pytest.approx(pixels / 17 if counts else 0.0, abs=1e-3)


def test_a_frame_without_a_joint_nearby_has_no_error():
    error = detection_error_px(truth() + 1.0, truth(), 1000.0)
    assert error.isnan().all()


def test_a_side_without_pixels_is_refused():
    with pytest.raises(ValueError, match="side_px"):
        make_options(Reliability, "analysis", "reliability", {"side_px": 0.0})
