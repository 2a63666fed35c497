"""The errors of `noisy_zbuffer` by Warp kernels, on the CPU or a GPU, in two launches."""

import torch
import warp as wp
from jaxtyping import Float, Int
from torch import Tensor

from render_workers.depth.noisy_zbuffer import NoisyZBuffer
from render_workers.kernels import noise_kernels
from render_workers.kernels.launching import Launcher, view


class WarpNoise:
    """Does what `NoisyZBuffer.estimate_in_torch` does; that is its slow twin.

    Args:
        device: device of the images to come.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self._launch = Launcher(device)

    def disturbed(
        self, zbuffer: Float[Tensor, "batch height width"], keys: Int[Tensor, " batch"], options: NoisyZBuffer.Options
    ) -> Float[Tensor, "batch height width"]:
        """Return the z-buffer with the errors that the options describe, metres.

        Args:
            zbuffer: rendered depth, metres; inf where there is no body.
            keys: of the images; the same key draws the same noise.
            options: how large the errors are.
        """
        o, (rows, height, width) = options, zbuffer.shape
        count, device = o.warp_grid**2, zbuffer.device
        streams = torch.empty(rows, dtype=torch.int64, device=device)
        image, nodes = (torch.empty(rows, size, device=device) for size in (2, count))
        drawn = [view(streams, wp.int64), view(image, wp.vec2), view(nodes, wp.float32)]
        inputs = [view(keys.long(), wp.int64), o.seed, o.log_scale, o.shift_m]
        self._launch(noise_kernels.draw, (rows, count), inputs, drawn)
        depth = torch.empty_like(zbuffer)
        inputs = [view(zbuffer, wp.float32), *drawn, o.warp_grid, o.bleed_px, o.warp, o.white_m]
        self._launch.strided(noise_kernels.disturb, rows, height * width, inputs, [view(depth, wp.float32)])
        return depth
