"""A GPU that is simulated on the CPU: tensors say `cuda:0`, and operations follow PyTorch's rules for two devices.

The numbers are computed by PyTorch's CPU kernels, so a whole run with `device=cuda` can be made where there is no GPU.
What fails here fails on a GPU: tensors of two devices in one operation, a generator of the other device, `numpy()` of
a tensor on the device. What waits for the device is counted, by the line of ours that waits. Not simulated: streams
(everything is done in its order), speed, rounding, and Warp's CUDA kernels, in whose place its CPU kernels are launched
on the same numbers. CUDA graphs are `tests.bench.replaying`: operations that are noted and done again.
"""

import ctypes
import os
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from unittest import mock

import pytest
import torch
import warp as wp
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves

from tests.bench.launches import INDEXING, READS, SIZED, _line
from tests.bench.replaying import Replaying

GPU = torch.device("cuda", 0)
CPU = torch.device("cpu")
GPU_TYPES = ("cuda", "meta")  # the latter where `cuda` has no number: PyTorch asks the guard which it is
# Operations in which PyTorch lets tensors of two devices meet.
COPIES = {"_to_copy", "copy_", "copy", "_foreach_copy_"}


class OnGPU(Tensor):
    """A tensor of the simulated GPU. numbers: what it holds, in a tensor of the CPU."""

    numbers: Tensor

    @staticmethod
    def __new__(cls, numbers):
        made = Tensor._make_wrapper_subclass(
            cls, numbers.shape, strides=numbers.stride(), storage_offset=numbers.storage_offset(), dtype=numbers.dtype,
            device="meta",
        )  # fmt: skip
        made.numbers = numbers
        return made

    # PyTorch's C++ takes the tensor for one of `meta`, whose autograd needs no driver; Python is told this:
    device = property(lambda tensor: GPU)
    is_cuda = property(lambda tensor: True)
    is_meta = property(lambda tensor: False)

    def new_tensor(self, data, *, dtype=None, device=None, requires_grad=False):
        return torch.tensor(data, dtype=dtype or self.dtype, device=device or GPU, requires_grad=requires_grad)

    def tolist(self):
        WAITS[f"tolist at {_line()}"] += 1
        return self.numbers.tolist()

    def numpy(self, *, force=False):
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy it first")

    def __repr__(self, *, tensor_contents=None):
        return f"OnGPU({self.numbers!r})"

    def __reduce_ex__(self, protocol):
        """As a file has it once it was read to the CPU, which all of ours are."""
        return self.numbers.__reduce_ex__(protocol)

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return dispatch(func, args, kwargs or {})


class SimulatedGenerator(torch.Generator):
    """A generator that remembers for which device it was made. It draws the CPU's numbers."""

    def __new__(cls, device="cpu"):
        made = super().__new__(cls, "cpu")
        made.made_for = torch.device(device)
        return made

    def __init__(self, device="cpu"):
        super().__init__()

    @property
    def device(self):
        return GPU if self.made_for.type == "cuda" else CPU


WAITS: Counter[str] = Counter()


def dispatch(func, args, kwargs):
    """Do one operation on the CPU's tensors, by the rules of two devices."""
    name = func.overloadpacket.__name__
    given: list[Tensor] = []
    cpu_args, cpu_kwargs = _numbers(args, given), _numbers(kwargs, given)
    on_gpu = [t for t in given if isinstance(t, OnGPU)]
    named = kwargs.get("device")
    where = CPU if not (on_gpu if named is None else torch.device(named).type in GPU_TYPES) else GPU
    if on_gpu and len(on_gpu) < len(given):
        _check_mixture(func, name, args, given)
    _count_waits(name, args, kwargs, bool(on_gpu), where)
    if named is not None:
        cpu_kwargs["device"] = CPU
    if cpu_kwargs.get("pin_memory"):
        cpu_kwargs["pin_memory"] = False
    found = func(*cpu_args, **cpu_kwargs)
    if where.type == "cpu":
        return found
    found = _on_gpu(found)
    if on_gpu and name != "_to_copy" and (func.is_view or func._schema.is_mutable):
        return return_and_correct_aliasing(func, args, kwargs, found)
    return found


def _numbers(value, found):
    """The same with the CPU's tensors in place of the GPU's; all tensors are added to `found`."""
    if isinstance(value, Tensor):
        found.append(value)
        return value.numbers if isinstance(value, OnGPU) else value
    if isinstance(value, dict):
        return {key: _numbers(part, found) for key, part in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_numbers(part, found) for part in value)
    return value


def _on_gpu(value):
    if isinstance(value, Tensor):
        return value if isinstance(value, OnGPU) else OnGPU(value)
    return type(value)(map(_on_gpu, value)) if isinstance(value, list | tuple) else value


def _check_mixture(func, name, args, given):
    """Raise RuntimeError where an operation takes tensors of both devices and PyTorch would not."""
    if name in COPIES:
        return
    others = [t for t in given if not isinstance(t, OnGPU)]
    if name in INDEXING and isinstance(args[0], OnGPU):
        indices = [t for t in tree_leaves(args[1]) if isinstance(t, Tensor)]
        others = [t for t in others if not any(t is index for index in indices)]
    if all(t.ndim == 0 for t in others) and (torch.Tag.pointwise in func.tags or name in INDEXING):
        return
    raise RuntimeError(
        f"Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu! ({name})"
    )


def _count_waits(name, args, kwargs, on_gpu, where):
    """Count what would wait for the device."""
    if name == "_to_copy":
        source = GPU if on_gpu else CPU
        if source.type != where.type and not kwargs.get("non_blocking"):
            WAITS[f"copy to {where.type} at {_line()}"] += 1
        return
    if name == "copy_":
        both = {isinstance(t, OnGPU) for t in args[:2] if isinstance(t, Tensor)}
        if len(both) == 2 and not (kwargs.get("non_blocking") or args[2:3] == (True,)):
            WAITS[f"copy at {_line()}"] += 1
        return
    if not on_gpu:
        return
    if name in READS or name in SIZED:
        WAITS[f"{name} at {_line()}"] += 1
    elif name in INDEXING:
        indices = [t for t in tree_leaves(args[1]) if isinstance(t, Tensor)]
        if any(t.dtype == torch.bool for t in indices):
            WAITS[f"mask at {_line()}"] += 1
        elif any(not isinstance(t, OnGPU) for t in indices):
            WAITS[f"index on another device at {_line()}"] += 1


class _Mode(TorchDispatchMode):
    """Makes tensors on the simulated GPU where a device is named, in the thread that enters it."""

    def __enter__(self):
        # Has `torch.tensor(numbers, device=...)` copy by an operation, which is seen here.
        torch._C._set_only_lift_cpu_tensors(True)
        return super().__enter__()

    def __exit__(self, *error):
        torch._C._set_only_lift_cpu_tensors(False)
        super().__exit__(*error)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return dispatch(func, args, kwargs or {})


class _Calls(TorchFunctionMode):
    """What the operations' own arguments do not show: generators, which are held to the devices for which they were
    made, and lists as an index, which become tensors of the device.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in (Tensor.__getitem__, Tensor.__setitem__) and isinstance(args[0], OnGPU):
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            args = (args[0], tuple(torch.tensor(i, device=GPU) if isinstance(i, list) else i for i in index), *args[2:])
        generator = kwargs.get("generator")
        if isinstance(generator, SimulatedGenerator):  # else it comes back from C++, where a replay took it
            tensors = [t for t in args if isinstance(t, Tensor)]
            where = torch.device(kwargs.get("device") or (tensors[0].device if tensors else "cpu"))
            if generator.device.type != where.type:
                found = generator.device.type
                raise RuntimeError(f"Expected a '{where.type}' device type for generator but found '{found}'")
        return func(*args, **kwargs)


def _register_device():
    """Give PyTorch's autograd something to ask about devices of type cuda: what it asks about `meta`."""
    library = ctypes.CDLL(os.fspath(Path(torch.__file__).parent / "lib" / "libc10.so"))
    guards = (ctypes.c_void_p * 22).in_dll(library, "_ZN3c104impl26device_guard_impl_registryE")
    if guards[1] is None:
        guards[1] = guards[14]


@contextmanager
def simulated_gpu() -> Iterator[Counter[str]]:
    """A context in which PyTorch sees a GPU; yields the counter of what waited for it. Skips where there is a real one,
    whose place it would take in what PyTorch and we keep for a device.
    """
    if torch.cuda.is_available():
        pytest.skip("a GPU is there; the tests marked `gpu` use it")
    # Some modules import it when they are used, and it looks through `torch.cuda` then.
    import_module("torch._dynamo")

    _register_device()
    WAITS.clear()
    run = threading.Thread.run
    from_torch = wp.from_torch

    def run_in_mode(thread):
        with _Mode(), _Calls():
            run(thread)

    answers = {
        "is_available": True, "is_initialized": True, "device_count": 1, "current_device": 0, "current_stream": None,
        "get_device_name": "simulated", "mem_get_info": (1 << 36, 1 << 36), "memory_allocated": 0,
        "max_memory_allocated": 0, "_lazy_init": None, "manual_seed_all": None, "manual_seed": None,
        "synchronize": None, "empty_cache": None, "set_sync_debug_mode": None, "get_sync_debug_mode": 0,
    }  # fmt: skip
    given = {name: mock.Mock(return_value=value) for name, value in answers.items()}
    given |= {"default_generators": (torch.default_generator,), "Event": mock.Mock}
    with (
        mock.patch.multiple(torch.cuda, **given),
        mock.patch.object(torch, "Generator", SimulatedGenerator),
        mock.patch.object(Tensor, "pin_memory", _same),
        # A module that moves keeps its parameters, as on a GPU.
        mock.patch.object(torch.__future__, "get_swap_module_params_on_conversion", return_value=True),
        mock.patch.object(threading.Thread, "run", run_in_mode),
        mock.patch("dg.methods.cuda_recorder.CudaRecorder", side_effect=lambda device: Replaying()),
        mock.patch.object(wp, "from_torch", lambda tensor, *a, **k: from_torch(_numbers(tensor, []), *a, **k)),
        mock.patch.object(wp, "device_from_torch", return_value=wp.get_device("cpu")),
        mock.patch.object(wp, "stream_from_torch", return_value=None),
        _Mode(),
        _Calls(),
    ):
        yield WAITS


def _same(tensor, *arguments):
    return tensor
