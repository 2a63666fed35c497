import math

import pytest
import torch

from render_workers.sampling import WIDER_PX, sample_joints

INF = float("inf")


def slow_sample(image, u, v, window):
    """One joint by loops: pool, interpolate over what is there, look further, take the nearest, else nothing."""
    height, width = image.shape

    def read(x, y):
        return image[y, x].item() if 0 <= x < width and 0 <= y < height else INF

    def pooled(x, y, reach):
        near, far = math.ceil(-reach), math.floor(reach)
        return min(read(x + i, y + j) for i in range(near, far + 1) for j in range(near, far + 1))

    x, y = math.floor(u - 0.5), math.floor(v - 0.5)
    total = weights = 0.0
    for i in (0, 1):
        for j in (0, 1):
            weight = (1 - abs(u - 0.5 - x - i)) * (1 - abs(v - 0.5 - y - j))
            value = pooled(x + i, y + j, window // 2)
            if value < INF:
                total, weights = total + weight * value, weights + weight
    if weights > 0:
        return total / weights, False
    for reach in WIDER_PX:
        value = pooled(math.floor(u), math.floor(v), reach)
        if value < INF:
            return value, True
    nearest = image.min().item()
    return (nearest if nearest < INF else math.nan), True


def patchy_maps(rows, size=24, seed=0):
    generator = torch.Generator().manual_seed(seed)
    depth = 3 + torch.rand(rows, size, size, generator=generator)
    holes = torch.rand(rows, size // 4, size // 4, generator=generator) < 0.6
    depth[holes.repeat_interleave(4, 1).repeat_interleave(4, 2)] = INF
    depth[0] = INF
    joints = torch.rand(rows, 17, 2, generator=generator) * (size + 8) - 4
    joints[:, 0] = joints[:, 0].floor() + 0.5  # on a pixel centre
    return depth, joints


@pytest.mark.parametrize("window", [1, 3, 5])
def test_sampling_agrees_with_loops(window):
    depth, joints = patchy_maps(6)
    answer = sample_joints(depth, joints, window)
    for row in range(6):
        for joint in range(17):
            value, widened = slow_sample(depth[row], *joints[row, joint].tolist(), window)
            assert answer.widened[row, joint] == widened
            assert answer.depth[row, joint].item() == pytest.approx(value, rel=1e-5, nan_ok=True)


def test_an_image_without_a_body_answers_nan():
    answer = sample_joints(torch.full((1, 16, 16), INF), torch.full((1, 3, 2), 8.0), 3)
    assert answer.depth.isnan().all()


def test_a_tilted_plane_is_read_exactly_without_pooling():
    pixel = torch.arange(32) + 0.5
    depth = (2 + 0.01 * pixel[None, :] + 0.02 * pixel[:, None])[None]
    joints = torch.rand(1, 50, 2) * 28 + 2
    expected = 2 + 0.01 * joints[..., 0] + 0.02 * joints[..., 1]
    assert torch.allclose(sample_joints(depth, joints, 1).depth, expected, atol=1e-5)


def test_pooling_reaches_the_body_from_one_pixel_outside():
    depth = torch.full((1, 16, 16), INF)
    depth[:, :, 8:] = 4.0
    joint = torch.tensor([[[7.2, 8.0]]])
    assert not sample_joints(depth, joint, 3).widened.any()
    assert sample_joints(depth, joint - torch.tensor([1.5, 0.0]), 3).widened.all()
    assert (sample_joints(depth, joint, 3).depth == 4.0).all()


def test_another_window_is_refused_by_name():
    with pytest.raises(ValueError, match=r"min_pool must be one of \(1, 3, 5\), got 2"):
        sample_joints(torch.ones(1, 8, 8), torch.ones(1, 1, 2), 2)
