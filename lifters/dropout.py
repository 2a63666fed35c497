"""Dropout from one byte a unit.

On the CPU PyTorch draws a random float for every unit, which costs several times what the multiplication does. Here one
64-bit draw serves eight units, as in `lifters.relu_dropout`. On other devices PyTorch's own kernels are used.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_LEVELS = 256


class Dropout(nn.Module):
    """Dropout; `p` is rounded to a multiple of 1/256 on the CPU. Raises ValueError for p outside [0, 1)."""

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"dropout must be in [0, 1), got {p}")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        dropped_levels = round(self.p * _LEVELS)
        if not self.training or dropped_levels == 0:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.p)
        bits = torch.empty(-(-x.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
        levels = bits.view(torch.uint8)[: x.numel()].view(x.shape)
        keep = torch.ge(levels, dropped_levels, out=torch.empty_like(x)).mul_(_LEVELS / (_LEVELS - dropped_levels))
        return x * keep

    def extra_repr(self) -> str:
        return f"p={self.p}"
