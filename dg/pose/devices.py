"""Devices by number, constants that wait on them, and how exactly a GPU multiplies matrices.

TF32 keeps 10 bits of a factor's 23. A network trains with it; geometry does not: at 5 m from the camera it rounds to
2.5 mm. PyTorch leaves it on for convolutions unless told, so every process says what it wants.
"""

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache

import torch
from torch import Tensor


def indexed(device: torch.device | str) -> torch.device:
    """Return the device with its number, as tensors and Warp name it: `cuda` is the current one.

    Args:
        device: any; one that is not a CUDA device, or has a number, is returned as it is.
    """
    device = torch.device(device)
    if device.type != "cuda" or device.index is not None:
        return device
    return torch.device("cuda", torch.cuda.current_device())


def seed_global_stream(number: int) -> None:
    """Seed the stream that torch's layers draw from, on the CPU and on the GPUs that are in use.

    `torch.manual_seed` does the same, but where no GPU is in use it keeps three stack traces for the day that one is,
    which is 4 % of a small run's time.

    Args:
        number: the seed.
    """
    torch.default_generator.manual_seed(number)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(number)


def global_stream(device: torch.device) -> torch.Generator:
    """Return the generator that torch's layers draw from on a device.

    Args:
        device: the CPU, or a CUDA device with its number.
    """
    if device.type != "cuda":
        return torch.default_generator
    assert device.index is not None
    return torch.cuda.default_generators[device.index]


def renew_global_stream(device: torch.device) -> None:
    """Give the generator of `global_stream` a new state, which a capture that failed has not closed.

    Args:
        device: a CUDA device with its number.
    """
    global_stream(device).graphsafe_set_state(torch.Generator(device))


def add_in_one_order() -> None:
    """Have the sums behind an index (`x[index]` in a backward pass) taken in one order on the CPU.

    Several threads add in any order unless told, and two runs of one seed differ in their last bits. Operations that
    PyTorch cannot do in one order warn.
    """
    torch.set_deterministic_debug_mode("warn")  # as use_deterministic_algorithms, which imports PyTorch's compiler
    # A help for finding faults, which takes time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore[reportAttributeAccessIssue] - is there


def pick(values: Tensor, index: Tensor, dim: int) -> Tensor:
    """Return what an index names along one axis, as `values[..., index]` does for the last one.

    The gradient is added in one order on every device: on the CPU by `index_select`, which is faster there
    too; on a GPU by indexing, which sorts, while `index_select` adds in any order.

    Args:
        values: any tensor.
        index: whole numbers, one axis.
        dim: the axis, counted from the last: -1 or less.
    """
    if values.device.type == "cpu":
        return values.index_select(dim, index)
    return values[(..., index, *(slice(None),) * (-1 - dim))]


def single_precision(value: float) -> float:
    """Return the number that a tensor in single precision would hold."""
    return struct.unpack("f", struct.pack("f", value))[0]


def constant(values: tuple[float, ...], device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """Return numbers as a tensor on a device, always the same one: not to be written to.

    A tensor that is made of Python's numbers is copied to a GPU each time, and the copy waits for all work before it.

    Args:
        values: the numbers; whole ones make an index, truth values a mask.
        device: where they are wanted.
        dtype: of the tensor; None: as `torch.tensor` has it.
    """
    return _constant(values, type(values[0]), device, dtype)


@lru_cache(maxsize=512)
def _constant(
    values: tuple[float, ...],
    kind: type,  # (True, False), (1, 0) and (1.0, 0.0) are the same key
    device: torch.device,
    dtype: torch.dtype | None,
) -> Tensor:
    return torch.tensor(values, dtype=dtype, device=device)


def send(values: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor of the CPU to a device; nothing waits for what a GPU has still to do.

    Args:
        values: on the CPU.
        device: where they are wanted.
    """
    if device.type != "cuda" or not len(values):
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)  # from other memory the copy would wait


def fetch(values: Tensor) -> Callable[[], Tensor]:
    """Begin to copy a tensor to the CPU.

    Args:
        values: on any device.

    Returns:
        What gives the copy. It waits for what the device was given before this call, and for nothing given since.
    """
    if values.device.type != "cuda":
        return lambda: values
    copy = torch.empty(values.shape, dtype=values.dtype, pin_memory=True).copy_(values, non_blocking=True)
    done = torch.cuda.Event()
    done.record()

    def arrived() -> Tensor:
        done.synchronize()
        return copy

    return arrived


def set_tf32(allowed: bool) -> None:
    """Say whether this process may multiply and convolve in TF32 on a GPU; the CPU is not concerned.

    Args:
        allowed: True trades 13 bits of each factor for speed.
    """
    # The older of PyTorch's two interfaces: torch.compile still reads it, and refuses where the newer one was used.
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


@contextmanager
def full_precision() -> Iterator[None]:
    """A context in which nothing is computed in TF32, whatever the process allows outside it."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    set_tf32(False)
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
