"""What a step of training would ask of a GPU: the operations it launches, and the calls that make it wait.

Counted on the CPU or on `meta` tensors, from what PyTorch dispatches and Warp launches. Views launch nothing. A call
blocks where the host reads a value (`item`, `bool`, `tolist`), where the size of an answer depends on values (masks,
`nonzero`, `unique`, `bincount`), or where Python numbers or a tensor of another device are copied to the device: such
copies wait for all that was launched before.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
import warp
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

READS = {"_local_scalar_dense", "equal", "is_nonzero"}
SIZED = {"nonzero", "masked_select", "unique_consecutive", "_unique2", "unique_dim", "bincount", "repeat_interleave"}
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_"}
# Neither views nor kernels.
FREE = {"detach", "lift_fresh", "alias", "empty", "empty_strided", "empty_like", "new_empty", "set_"}


class Launches:
    """Counts: operations by name, `warp NAME` for kernels of Warp, and blocking calls by what they are and the line of
    ours that makes them.
    """

    def __init__(self) -> None:
        self.operations: Counter[str] = Counter()
        self.blocking: Counter[str] = Counter()

    @property
    def total(self) -> int:
        """Operations that would launch a kernel."""
        return sum(self.operations.values())

    @property
    def blocked(self) -> int:
        """Calls that would wait for the device."""
        return sum(self.blocking.values())


class _Dispatched(TorchDispatchMode):
    def __init__(self, found: Launches) -> None:
        super().__init__()
        self.found = found

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        answer = func(*args, **(kwargs or {}))
        if name in READS or name in SIZED:
            self.found.blocking[f"{name} at {_line()}"] += 1
        elif name == "lift_fresh":
            self.found.blocking[f"numbers to the device at {_line()}"] += 1
        elif name in INDEXING and any(i.dtype == torch.bool for i in _indices(args[1])):
            self.found.blocking[f"mask at {_line()}"] += 1
        elif name in INDEXING and any(i.device != args[0].device for i in _indices(args[1])):
            self.found.blocking[f"index on another device at {_line()}"] += 1
        elif name == "_to_copy" and answer.device != args[0].device:
            self.found.blocking[f"copy at {_line()}"] += 1
        if not func.is_view and name not in FREE:
            self.found.operations[name] += 1
        return answer


@contextmanager
def counted() -> Iterator[Launches]:
    """Count within this context."""
    found, launch = Launches(), warp.launch

    def counting(kernel: Any, *args: Any, **kwargs: Any) -> Any:
        found.operations[f"warp {kernel.key}"] += 1
        return launch(kernel, *args, **kwargs)

    with _Dispatched(found), mock.patch.object(warp, "launch", counting):
        yield found


def _indices(given: Any) -> list[Tensor]:
    return [i for i in tree_leaves(given) if isinstance(i, Tensor)]


def _line() -> str:
    """The innermost line of ours."""
    import sys

    frame = sys._getframe(2)
    while frame is not None:
        path = frame.f_code.co_filename
        if any(f"/{room}/" in path for room in ("dg", "lifters", "render_workers")) and "site-packages" not in path:
            return f"{path.rpartition('/')[2]}:{frame.f_lineno}"
        frame = frame.f_back
    return "elsewhere"
