"""Warp kernels on torch tensors: zero-copy, on the stream that made them."""

import torch
import warp as wp
from torch import Tensor

from dg.pose.devices import indexed
from render_workers.kernels.module import complete_module
from render_workers.kernels.warp_start import load_kernels, start_warp


class Launcher:
    """Launches kernels of `render_workers.kernels.module` on one device; they are compiled, or loaded, at once.

    Args:
        device: device of the tensors to come.
    """

    def __init__(self, device: torch.device | str) -> None:
        self.device = indexed(device)  # Warp knows CUDA devices by number alone
        start_warp()
        self._where = wp.device_from_torch(self.device)
        load_kernels(complete_module(), self._where)

    def __call__(self, kernel: object, size: int | tuple[int, ...], inputs: list, outputs: list) -> None:
        """Run a kernel, one thread for each item of `size`.

        Args:
            kernel: of that module.
            size: number of threads along each axis.
            inputs: numbers, and tensors as `view` returns them.
            outputs: tensors that the kernel writes to.
        """
        if self.device.type == "cpu":
            wp.launch(kernel, size, inputs, outputs, device=self._where)
            return
        # Warp has a stream of its own; on torch's, its kernels follow what made their inputs.
        stream = wp.stream_from_torch(torch.cuda.current_stream(self.device))
        wp.launch(kernel, size, inputs, outputs, stream=stream)

    def strided(self, kernel: object, rows: int, items: int, inputs: list, outputs: list) -> None:
        """Run a kernel over rows of items: its thread (row, first) takes the items first, first + steps, ...

        The kernel's last input is `steps`. On the CPU, where Warp's threads run one after the other, a thread takes all
        items of a row, which saves the cost of starting each.

        Args:
            kernel: of that module.
            rows: number of rows.
            items: number of items in each row.
            inputs: as for a call, without `steps`.
            outputs: tensors that the kernel writes to.
        """
        steps = 1 if self.device.type == "cpu" else items
        self(kernel, (rows, steps), [*inputs, steps], outputs)


def view(tensor: Tensor, dtype: type) -> object:
    """Return a tensor as Warp's kernels take it, without a copy where it is contiguous. What is returned keeps it.

    Args:
        tensor: of any shape; its last axes are those of `dtype`.
        dtype: Warp's type of an item, a scalar, vector or matrix.
    """
    return wp.from_torch(tensor.detach().contiguous(), dtype=dtype, return_ctype=True)
