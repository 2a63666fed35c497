"""Rendered depth with the errors that a monocular depth network makes (DESIGN 5.5).

Each image's depth is blurred across occlusion edges, multiplied by one log-normal factor (the relative error of metric
indoor checkpoints) and by a smooth field, shifted as a whole, and disturbed at every pixel.
Draws are functions of (seed, key, place): an answer depends neither on the batch nor on the device.
"""

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from annotated_types import Ge
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from dg.settings.config import CountOrZero, NotNegative
from render_workers.base import BACKGROUND, DepthSource

# A depth of zero or less would be behind the camera.
NEAREST_M = 0.01
MAX_BYTE_REACH = 7
# Where each kind of error draws from: counters of one key must not overlap.
SCALE, SHIFT, WARP, WHITE = 0, 1, 2, 1 << 20


class NoisyZBuffer(DepthSource):
    """Not an oracle: it errs as a network does, so that a lifter learns from it what it could learn from a network."""

    @dataclass(frozen=True)
    class Options:
        """How large the errors are; all but `warp_grid`, `bleed_px` and `seed` are standard deviations."""

        log_scale: NotNegative = 0.06  # of the logarithm of the factor of an image
        shift_m: NotNegative = 0.05  # of the shift of an image, metres
        warp: NotNegative = 0.02  # of the relative error that varies smoothly over an image
        warp_grid: Annotated[int, Ge(2)] = 8  # nodes of that error along a side of the image
        bleed_px: CountOrZero = 2  # reach of the blur across the body's edges, pixels
        white_m: NotNegative = 0.01  # of the error of each pixel by itself, metres
        seed: int = 0

    def __init__(self, options: Options = Options()) -> None:
        self.options = options
        self._kernels: dict[torch.device, Any] = {}

    @torch.no_grad()
    def estimate(
        self,
        zbuffer: Float[Tensor, "batch height width"],
        rgb: Float[Tensor, "batch 3 height width"] | None,
        keys: Int[Tensor, " batch"],
    ) -> Float[Tensor, "batch height width"]:
        """Estimate as `DepthSource` says; the background is never entered, only the body's own edges mix.

        Args:
            zbuffer: rendered depth, metres; inf where there is no body.
            rgb: ignored.
            keys: of the images; the same key draws the same noise.

        Returns:
            The z-buffer with the errors that the options describe, metres.
        """
        if zbuffer.device.type not in ("cpu", "cuda"):
            return self.estimate_in_torch(zbuffer, keys)
        from render_workers.kernels.warp_noise import WarpNoise  # here: who reads the options alone needs no Warp

        if zbuffer.device not in self._kernels:
            self._kernels[zbuffer.device] = WarpNoise(zbuffer.device)
        return self._kernels[zbuffer.device].disturbed(zbuffer, keys, self.options)

    def estimate_in_torch(
        self, zbuffer: Float[Tensor, "batch height width"], keys: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch height width"]:
        """Return what `estimate` does without kernels: their slow twin, for any device.

        Args:
            zbuffer: rendered depth, metres; inf where there is no body.
            keys: of the images.
        """
        o = self.options
        depth = _bleed(zbuffer, o.bleed_px) if o.bleed_px else zbuffer.clone()
        # The body covers a tenth of a crop: draw for its pixels alone.
        place = (zbuffer < BACKGROUND).flatten().nonzero()[:, 0]
        image, pixel = place // zbuffer[0].numel(), place % zbuffer[0].numel()
        stream = mix(keys.long() + mix(torch.tensor(o.seed, device=keys.device)))
        value = depth.flatten()[place]
        if o.log_scale:
            value = value * (o.log_scale * normal(stream, SCALE)).exp()[image]
        if o.warp:
            value = value * (1 + o.warp * self._field(stream, image, pixel, zbuffer.shape[1:]))
        if o.shift_m:
            value = value + o.shift_m * normal(stream, SHIFT)[image]
        if o.white_m:
            value = value + o.white_m * normal(stream[image], WHITE + pixel)
        depth.view(-1)[place] = value.clamp_min(NEAREST_M)
        return depth

    def _field(self, stream: Tensor, image: Tensor, pixel: Tensor, size: torch.Size) -> Tensor:
        """A smooth random field of unit variance at some pixels."""
        grid, (height, width) = self.options.warp_grid, size
        nodes = normal(stream[:, None], WARP + torch.arange(grid * grid, device=stream.device)).flatten()
        y, x = (pixel // width) * ((grid - 1) / (height - 1)), (pixel % width) * ((grid - 1) / (width - 1))
        top, left = y.long().clamp_max(grid - 2), x.long().clamp_max(grid - 2)
        y, x = y - top, x - left
        corner = (image * grid + top) * grid + left
        weight = [(1 - y) * (1 - x), (1 - y) * x, y * (1 - x), y * x]
        total = sum(w * nodes[corner + step] for w, step in zip(weight, (0, 1, grid, grid + 1), strict=True))
        # Interpolation averages the nodes; dividing by the weights' norm keeps the variance one in between.
        return total / torch.stack([w * w for w in weight]).sum(0).sqrt()


def _bleed(zbuffer: Tensor, reach: int) -> Tensor:
    """Mean over the body's pixels of a square window; background stays."""
    seen = zbuffer < BACKGROUND
    total = _box_sum(torch.where(seen, zbuffer, 0.0), reach)
    # Counts fit a byte up to a reach of 7; bytes are four times less to move.
    count = _box_sum(seen.to(torch.uint8 if reach <= MAX_BYTE_REACH else torch.int32), reach)
    return torch.where(seen, total / count, BACKGROUND)


def _box_sum(image: Tensor, reach: int) -> Tensor:
    """Sum over squares of 2 reach + 1 pixels; zero beyond the border. Shifted adds beat torch's pooling tenfold."""
    for axis in (2, 1):
        size = image.shape[axis]
        border = (0, 0, reach, reach) if axis == 1 else (reach, reach)
        padded = pad(image, border)
        image = padded.narrow(axis, 0, size).clone()
        for step in range(1, 2 * reach + 1):
            image += padded.narrow(axis, step, size)
    return image


def mix(counter: Int[Tensor, "*axes"]) -> Int[Tensor, "*axes"]:
    """A bijection of 64-bit integers whose outputs look random (the finaliser of SplitMix64, Steele et al. 2014)."""
    z = counter - 0x61C8864680B583EB  # plus 2^64 over the golden ratio, as a signed integer
    z = (z ^ _shift(z, 30)) * -0x40A7B892E31B1A47
    z = (z ^ _shift(z, 27)) * -0x6B2FB644ECCEEE15
    return z ^ _shift(z, 31)


def normal(stream: Int[Tensor, "*axes"], counter: Tensor | int) -> Float[Tensor, "*more"]:
    """Standard normal numbers by Box and Muller (1958), one for each (stream, counter)."""
    bits = mix(stream + counter)
    radius = (((bits & 0xFFFFFF) + 1).float() / (1 << 24)).log().mul(-2).sqrt()
    angle = (_shift(bits, 40)).float() * (2 * torch.pi / (1 << 24))
    return radius * angle.cos()


def _shift(z: Tensor, places: int) -> Tensor:
    """Logical shift to the right; torch's own carries the sign along."""
    return (z >> places) & ((1 << (64 - places)) - 1)
