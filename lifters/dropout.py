"""Dropout from one byte a unit, by itself and as one operation with a ReLU.

On the CPU PyTorch draws a random float for every unit, which costs several times what the multiplication does, and as
much as a third of the matrix product before it. Here one 64-bit draw serves eight units, and the backward pass of ReLU
and dropout needs the output alone. On other devices PyTorch's own kernels are used.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEVELS = 256


def keep_mask(x: Tensor, dropped_levels: int) -> Tensor:
    """Draw a dropout mask on the CPU, from one random byte a unit.

    Args:
        x: a CPU tensor, whose shape and dtype the mask takes.
        dropped_levels: the chance of a zero, in 256ths, from 0 to 255.

    Returns:
        Zeros where units are dropped, elsewhere 256 / (256 - dropped_levels), which keeps the mean.
    """
    bits = torch.empty(-(-x.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
    levels = bits.view(torch.uint8)[: x.numel()].view(x.shape)
    return torch.ge(levels, dropped_levels, out=torch.empty_like(x)).mul_(LEVELS / (LEVELS - dropped_levels))


class Dropout(nn.Module):
    """Dropout; `p` is rounded to a multiple of 1/256 on the CPU. Raises ValueError for p outside [0, 1)."""

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"dropout must be in [0, 1), got {p}")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Drop units of `x` in training; in eval mode return it as it is."""
        dropped_levels = round(self.p * LEVELS)
        if not self.training or dropped_levels == 0:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.p)
        return x * keep_mask(x, dropped_levels)

    def extra_repr(self) -> str:
        """Show the chance in the module's printed form."""
        return f"p={self.p}"


class _ReLUDropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, dropped_levels: int) -> Tensor:  # noqa: ANN401
        output = torch.relu(x).mul_(keep_mask(x, dropped_levels))
        ctx.save_for_backward(output)
        ctx.scale = LEVELS / (LEVELS - dropped_levels)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        (output,) = ctx.saved_tensors
        # The output is positive exactly where the unit was kept and active.
        return torch.ops.aten.threshold_backward(gradients[0], output, 0.0).mul_(ctx.scale), None


class ReLUDropout(Dropout):
    """dropout(relu(x)); `p` is rounded to a multiple of 1/256 on the CPU. Raises ValueError for p outside [0, 1)."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply ReLU to `x`, and in training also dropout."""
        dropped_levels = round(self.p * LEVELS)
        if not self.training or dropped_levels == 0:
            return F.relu(x)
        if x.device.type != "cpu":
            return F.dropout(F.relu(x), self.p)
        return _ReLUDropout.apply(x, dropped_levels)  # pyright: ignore[reportReturnType] - torch leaves it untyped
