"""Boxes of 2D poses and poses rescaled to one size."""

import pytest
import torch

from dg.pose.boxes import box_size, rescale_boxes

SIZE = 0.46


def poses(rows: int = 50) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    scale = 0.05 + torch.rand(rows, 1, 1, generator=generator, dtype=torch.float64)
    return scale * torch.randn(rows, 17, 2, generator=generator, dtype=torch.float64) + 0.3


def test_the_size_is_half_of_width_plus_height():
    assert float(box_size(torch.tensor([[0.0, 1.0], [0.4, 1.1], [0.1, 1.2]]))) == pytest.approx(0.3)


@pytest.mark.parametrize("factor", [0.01, 1.0, 30.0])
def test_every_scale_comes_out_with_the_same_size_and_its_centroid_where_it_was(factor):
    before = poses() * factor
    after = rescale_boxes(before, SIZE)
    torch.testing.assert_close(box_size(after), torch.full((50,), SIZE, dtype=torch.float64))
    torch.testing.assert_close(after.mean(1), before.mean(1))
    torch.testing.assert_close(rescale_boxes(after, SIZE), after)


def test_the_shape_stays():
    before, after = poses(), rescale_boxes(poses(), SIZE)
    ratio = torch.pdist(after[0]) / torch.pdist(before[0])
    torch.testing.assert_close(ratio, torch.full_like(ratio, float(SIZE / box_size(before[0]))))


def test_mirroring_and_rescaling_may_change_places():
    mirror = torch.tensor([-1.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(rescale_boxes(poses() * mirror, SIZE), rescale_boxes(poses(), SIZE) * mirror)


def test_a_pose_of_one_point_stays_as_it_is():
    point = torch.full((1, 17, 2), 0.25)
    assert torch.equal(rescale_boxes(point, SIZE), point)
