import math

import pytest
import torch

from dg.settings.plugins import OptionError, make_options
from render_workers.depth.noisy_zbuffer import NoisyZBuffer, mix, normal
from render_workers.depth.zbuffer import ZBuffer

INF = float("inf")
QUIET = {"log_scale": 0.0, "shift_m": 0.0, "warp": 0.0, "bleed_px": 0, "white_m": 0.0}


def noisy(**options):
    return NoisyZBuffer(NoisyZBuffer.Options(**{**QUIET, **options}))


def disc(rows, size=32, z=4.0):
    """A flat round body on background."""
    pixel = torch.arange(size) - size / 2 + 0.5
    inside = pixel[:, None] ** 2 + pixel[None, :] ** 2 < (0.45 * size) ** 2
    return torch.where(inside, z, INF).expand(rows, size, size).clone()


def estimate(source, zbuffer, first_key=0):
    return source.estimate(zbuffer, None, torch.arange(first_key, first_key + len(zbuffer)))


def errors(rows=4000, size=32, **options):
    """Estimates of a flat body four metres away, one row an image."""
    zbuffer = disc(rows, size)
    return estimate(noisy(**options), zbuffer)[zbuffer < INF].view(rows, -1)


def test_no_noise_is_the_z_buffer():
    zbuffer = disc(3)
    assert torch.equal(estimate(noisy(), zbuffer), zbuffer)
    assert estimate(ZBuffer(), zbuffer) is zbuffer


def test_scale_is_one_log_normal_factor_an_image():
    log = (errors(log_scale=0.06) / 4).log()
    assert log.std(1).max() < 1e-5
    assert log[:, 0].std() == pytest.approx(0.06, rel=0.05)
    assert log[:, 0].mean() == pytest.approx(0.0, abs=0.004)


def test_shift_is_one_offset_an_image():
    shift = errors(shift_m=0.05) - 4
    assert shift.std(1).max() < 1e-5
    assert shift[:, 0].std() == pytest.approx(0.05, rel=0.05)


def test_white_noise_is_independent_from_pixel_to_pixel():
    white = errors(white_m=0.01, rows=500) - 4
    assert white.std() == pytest.approx(0.01, rel=0.02)
    neighbours = (white[:, 1:] * white[:, :-1]).mean() / white.var()
    assert abs(neighbours.item()) < 0.02


def test_warp_is_smooth_relative_and_as_large_everywhere():
    warp = errors(warp=0.02, rows=2000, size=64) / 4 - 1
    assert warp.std() == pytest.approx(0.02, rel=0.05)
    assert warp.std(0).min() > 0.017
    assert warp.std(0).max() < 0.023
    neighbours = (warp[:, 1000] * warp[:, 1001]).mean() / warp.var()
    assert neighbours > 0.9


def test_edges_bleed_as_far_as_they_should_and_never_into_background():
    zbuffer = disc(1)
    zbuffer[:, :, 16:][zbuffer[:, :, 16:] < INF] = 6.0
    answer = estimate(noisy(bleed_px=2), zbuffer)
    assert torch.equal(answer.isinf(), zbuffer.isinf())
    middle = answer[0, 16]
    assert torch.equal(middle[[10, 13, 18, 21]], torch.tensor([4.0, 4.0, 6.0, 6.0]))
    assert torch.allclose(middle[14:18], torch.tensor([4.4, 4.8, 5.2, 5.6]), atol=1e-5)


def test_estimates_do_not_depend_on_the_batch_but_on_key_and_seed():
    source, zbuffer = NoisyZBuffer(), disc(6)
    whole = estimate(source, zbuffer, first_key=40)
    parts = torch.cat([estimate(source, zbuffer[:2], 40), estimate(source, zbuffer[2:], 42)])
    assert torch.equal(whole, parts)
    assert not torch.equal(whole[0], whole[1])
    other = NoisyZBuffer(NoisyZBuffer.Options(seed=1))
    assert not torch.equal(whole, estimate(other, zbuffer, 40))


def test_depth_stays_in_front_of_the_camera():
    assert errors(rows=200, shift_m=10.0).min() > 0


def test_the_hash_gives_standard_normal_numbers_without_pattern():
    draws = normal(mix(torch.arange(-500, 500))[:, None], torch.arange(200))
    assert draws.mean() == pytest.approx(0.0, abs=0.01)
    assert draws.std() == pytest.approx(1.0, abs=0.01)
    assert (draws.abs() > 1.96).float().mean() == pytest.approx(0.05, abs=0.003)
    for shifted in (draws[1:] * draws[:-1], draws[:, 1:] * draws[:, :-1]):
        assert abs(shifted.mean().item()) < 0.01
    assert (draws**4).mean() == pytest.approx(3.0, abs=0.1)
    assert draws.flatten().unique().numel() > 0.97 * draws.numel()
    assert math.isfinite(draws.abs().max().item())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"white_m": -0.1}, "white_m must not be negative"),
        ({"warp_grid": 1}, "warp_grid must be at least 2"),
        ({"wrap": 0.1}, "did you mean 'warp'"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(OptionError, match=message):
        make_options(NoisyZBuffer, "depth", "noisy_zbuffer", options)


@pytest.mark.gpu
def test_cuda_and_cpu_draw_the_same_errors():
    zbuffer, keys = disc(4), torch.arange(4)
    on_gpu = NoisyZBuffer().estimate(zbuffer.cuda(), None, keys.cuda()).cpu()
    assert torch.allclose(on_gpu, NoisyZBuffer().estimate(zbuffer, None, keys), atol=1e-4)
