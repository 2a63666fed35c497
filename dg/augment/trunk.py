"""The network that PoseAug's generator uses four times (METHODS 2.1): pose and noise in, a few numbers out."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

WIDTH = 256
NOISE = 48


class Trunk(nn.Module):
    """Five layers of Linear, batch norm and LeakyReLU(0.01), 256 wide, then a linear one. No skips, no dropout."""

    def __init__(self, inputs: int, outputs: int, hidden_layers: int = 5) -> None:
        super().__init__()
        widths = [inputs, *[WIDTH] * hidden_layers]
        self.linears = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.norms = nn.ModuleList(nn.BatchNorm1d(WIDTH) for _ in range(hidden_layers))
        self.last = nn.Linear(WIDTH, outputs)
        for linear in (*self.linears, self.last):
            nn.init.kaiming_normal_(linear.weight)  # pyright: ignore[reportArgumentType] - a ModuleList of Linear

    def forward(self, *parts: Float[Tensor, "batch _"]) -> Float[Tensor, "batch outputs"]:
        """Concatenate the parts along their last axis and map them to the outputs."""
        x = torch.cat(parts, -1)
        for linear, norm in zip(self.linears, self.norms, strict=True):
            x = nn.functional.leaky_relu_(norm(linear(x)), 0.01)
        return self.last(x)


@contextmanager
def frozen_statistics(module: nn.Module) -> Iterator[None]:
    """Keep the running statistics of batch norms as they are; the layers normalise by their batch as in training."""
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm1d)]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
