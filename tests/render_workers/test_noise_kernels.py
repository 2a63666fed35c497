"""The errors of `noisy_zbuffer` by kernels against their slow twin in torch."""

import pytest
import torch

from render_workers.depth.noisy_zbuffer import NoisyZBuffer
from tests.bench.launches import counted
from tests.render_workers.test_sampling import patchy_maps

KEYS = torch.arange(40) * 7919 + (1 << 40)
OPTIONS = {
    "usual": {},
    "one kind after another": {"warp": 0.0, "white_m": 0.0},
    "without blur": {"bleed_px": 0, "seed": 7},
    "a window that counts do not fit a byte for": {"bleed_px": 9, "warp_grid": 3},
    "nothing": {"log_scale": 0.0, "shift_m": 0.0, "warp": 0.0, "bleed_px": 0, "white_m": 0.0},
    "behind the camera": {"shift_m": 50.0, "seed": -3},
}


def both(options, maps=None):
    source = NoisyZBuffer(NoisyZBuffer.Options(**options))
    zbuffer = patchy_maps(40)[0] if maps is None else maps
    return source.estimate(zbuffer, None, KEYS[: len(zbuffer)]), source.estimate_in_torch(zbuffer, KEYS[: len(zbuffer)])


@pytest.mark.parametrize("name", OPTIONS)
def test_the_kernels_agree_with_torch(name):
    answer, twin = both(OPTIONS[name])
    assert torch.equal(answer.isinf(), twin.isinf())
    torch.testing.assert_close(answer, twin, rtol=1e-6, atol=2e-6)


def test_images_of_any_shape_are_filled_to_their_border():
    answer, twin = both({}, torch.full((2, 7, 37), 3.0))
    assert answer.isfinite().all()
    torch.testing.assert_close(answer, twin, rtol=1e-6, atol=2e-6)


def test_an_image_does_not_depend_on_its_batch_bit_for_bit():
    source, maps = NoisyZBuffer(), patchy_maps(9)[0]
    whole = source.estimate(maps, None, KEYS[:9])
    assert torch.equal(source.estimate(maps[3:5], None, KEYS[3:5]), whole[3:5])
    assert source.estimate(maps[:0], None, KEYS[:0]).shape == (0, 24, 24)


def test_noise_is_two_launches():
    source, maps = NoisyZBuffer(), patchy_maps(3)[0]
    source.estimate(maps, None, KEYS[:3])
    with counted() as count:
        source.estimate(maps, None, KEYS[:3])
    assert dict(count.operations) == {"warp draw": 1, "warp disturb": 1}


@pytest.mark.gpu
def test_a_gpu_draws_the_same():
    source, maps = NoisyZBuffer(), patchy_maps(40)[0]
    there = source.estimate(maps.cuda(), None, KEYS.cuda()).cpu()
    torch.testing.assert_close(there, source.estimate(maps, None, KEYS), rtol=1e-5, atol=1e-5)
