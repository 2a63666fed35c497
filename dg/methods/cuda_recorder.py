"""CUDA graphs of PyTorch 2.11 to 2.13 as the recorder of `dg.methods.graphed_steps`. Never run on a GPU so far.

All plain steps that prepare a capture, and the capture, run on one stream: autograd remembers the stream on which it
first saw a weight, and libraries make their workspaces a stream. Other threads may go on using the GPU (a worker of the
local pool does): `capture_error_mode="thread_local"`.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch

from dg.methods.graphed_steps import Found, Recorded, Recorder
from dg.pose.devices import renew_global_stream

_WAITS = "called a synchronizing CUDA operation"


class CudaRecorder(Recorder):
    """Records what one device is given to do.

    Args:
        device: a CUDA device with its number.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)

    @contextmanager
    def aside(self) -> Iterator[list[str]]:
        """Use the captures' stream, after all that the current one was given and before all that it will be."""
        waits: list[str] = []
        current, mode = torch.cuda.current_stream(self.device), torch.cuda.get_sync_debug_mode()
        self.stream.wait_stream(current)
        with warnings.catch_warnings(record=True) as told, torch.cuda.stream(self.stream):
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                yield waits
            finally:
                torch.cuda.set_sync_debug_mode(mode)
        current.wait_stream(self.stream)
        for warning in told:
            if _WAITS in str(warning.message):
                waits.append(f"{warning.filename.rpartition('/')[2]}:{warning.lineno}")
            elif "prototype feature" not in str(warning.message):
                warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)

    def record(self, work: Callable[[], Found], generators: list[torch.Generator]) -> Recorded:
        """Capture work, none of which is done yet; see `Recorder.record`."""
        graph, pool = torch.cuda.CUDAGraph(), torch.cuda.graph_pool_handle()
        for generator in generators:
            graph.register_generator_state(generator)
        # The outer context: a capture that ends with an error leaves its own stream the current one.
        with torch.cuda.stream(self.stream):
            try:
                with torch.cuda.graph(graph, pool=pool, stream=self.stream, capture_error_mode="thread_local"):
                    found = work()
            except Exception:
                self._recover(pool)
                raise
        return graph.replay, found

    def _recover(self, pool: Any) -> None:  # noqa: ANN401 - PyTorch's name for a pool
        """Undo what a capture that failed leaves behind. No graph may be replayed afterwards, for those that there are
        read the seeds of the stream that is exchanged here.
        """
        # Up to PyTorch 2.11 the generator keeps waiting for the end of the capture.
        renew_global_stream(self.device)
        with suppress(RuntimeError):  # the capture may have come so far as to do it
            torch._C._cuda_endAllocateToPool(self.device.index, pool)
