"""A stand-in for CUDA graphs on the CPU: notes the operations that PyTorch dispatches, and does them again.

As a graph does, a replay runs no line of Python: it repeats the same operations with the same numbers on the same
tensors, and its answers lie where those of the recording lay. And as in a capture, what would wait for the device is an
error. Other than a capture a recording does what it records.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dg.methods.graphed_steps import Found, Recorded, Recorder
from tests.bench.launches import FREE, counted


class _Notes(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.done: list[tuple[Callable, tuple, dict[str, Any], list[Any]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        answer = func(*args, **(kwargs or {}))
        if not func.is_view and func.overloadpacket.__name__ not in FREE:
            self.done.append((func, args, kwargs or {}, tree_leaves(answer)))
        return answer


class Replaying(Recorder):
    """Attributes: recorded, aside_of: recordings made, and steps that prepared them; operations: of the last one."""

    def __init__(self) -> None:
        self.recorded = self.prepared = self.operations = 0

    @contextmanager
    def aside(self) -> Iterator[list[str]]:
        """Look for what would wait for the device."""
        waits: list[str] = []
        with counted() as calls:
            yield waits
        waits += calls.blocking
        self.prepared += 1

    def record(self, work: Callable[[], Found], generators: list[torch.Generator]) -> Recorded:
        """See `Recorder.record`."""
        notes = _Notes()
        with counted() as calls, notes:
            found = work()
        if calls.blocking:
            raise RuntimeError(f"operation not permitted when stream is capturing: {dict(calls.blocking)}")
        self.recorded += 1
        self.operations = len(notes.done)
        return lambda: self._replay(notes), found

    @torch.no_grad()
    def _replay(self, notes: _Notes) -> None:
        for func, args, kwargs, answers in notes.done:
            again = tree_leaves(func(*args, **kwargs))
            for answer, new in zip(answers, again, strict=True):
                if isinstance(answer, Tensor) and _address(answer) != _address(new):
                    answer.copy_(new)


def _address(tensor: Tensor) -> int:
    """Where its numbers lie, those of a simulated GPU on the CPU."""
    return getattr(tensor, "numbers", tensor).data_ptr()
