"""ReLU and dropout as one operation.

On the CPU PyTorch draws a random float for every unit, which costs as much as a third of the matrix product before it.
Here one byte serves a unit (`lifters.dropout`), and the backward pass needs the output alone. On other devices
PyTorch's own kernels are used.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lifters.dropout import LEVELS, Dropout, keep_mask


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
