"""Disparity is brought to metres by the body that is known."""

import numpy as np
import pytest
import torch

from render_workers.depth.alignment import FARTHEST_M, align_disparity

INF = float("inf")


def bumpy(rows=3, side=16):
    generator = torch.Generator().manual_seed(1)
    zbuffer = 3 + 2 * torch.rand(rows, side, side, generator=generator)
    zbuffer[:, :4] = INF
    return zbuffer


def test_any_affine_disparity_is_aligned_exactly():
    zbuffer = bumpy()
    scale, shift = torch.tensor([3.0, 0.01, 700.0]), torch.tensor([0.0, 5.0, -90.0])
    disparity = torch.where(zbuffer < INF, scale[:, None, None] / zbuffer, 0.0) + shift[:, None, None]
    answer = align_disparity(disparity, zbuffer)
    assert torch.equal(answer.isinf(), zbuffer.isinf())
    body = zbuffer[0] < INF
    for row, tolerance in enumerate((1e-4, 0.02, 1e-4)):  # the second has few digits left above its shift
        assert (answer[row] - zbuffer[row])[body].abs().max() < tolerance


def test_alignment_is_the_least_squares_fit_of_disparity_and_blind_to_the_background():
    zbuffer = bumpy(1)
    body = zbuffer[0] < INF
    disparity = torch.where(zbuffer < INF, 2 / zbuffer, 50.0) + 0.1 * torch.rand(1, 16, 16)
    columns = np.stack([disparity[0][body].numpy(), np.ones(int(body.sum()))], 1)
    fit = np.linalg.lstsq(columns, 1 / zbuffer[0][body].numpy(), rcond=None)[0]
    answer = align_disparity(disparity, zbuffer)[0][body].numpy()
    assert np.abs(answer - 1 / (columns @ fit)).max() < 1e-3
    assert np.abs(answer - zbuffer[0][body].numpy()).max() > 0.01


def test_where_nothing_can_be_fitted_the_image_gets_one_depth_or_stays_empty():
    zbuffer = bumpy(4)
    zbuffer[2] = INF
    zbuffer[3] = INF
    zbuffer[3, 7, 7] = 4.0
    disparity = torch.full((4, 16, 16), 3.0)
    disparity[1] = zbuffer[1].clamp_max(9.0)  # it falls where it should rise
    answer = align_disparity(disparity, zbuffer)
    for row in (0, 1):
        depth, true = answer[row][zbuffer[row] < INF], zbuffer[row][zbuffer[row] < INF]
        assert torch.allclose(depth, (1 / (1 / true).mean()).expand(len(depth)), atol=1e-4)
    assert answer[2].isinf().all()
    assert answer[3, 7, 7] == pytest.approx(4.0)
    assert int(answer[3].isfinite().sum()) == 1


def test_a_disparity_that_comes_out_negative_is_far_and_not_behind_the_camera():
    zbuffer = torch.full((1, 2, 64), 3.0)
    zbuffer[0, 0] = 50.0
    disparity = torch.where(zbuffer == 3.0, 1.0, 0.0)
    disparity[0, 0, 0] = -9.0
    answer = align_disparity(disparity, zbuffer)
    assert answer.max() == FARTHEST_M
    assert (answer > 0).all()
