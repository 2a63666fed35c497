"""`python -m tests.bench.ptx`: the workers' kernels on a GPU where Warp cannot be carried.

    python -m tests.bench.ptx make --folder FOLDER             with Warp, no GPU: compiles, and notes launches
    python -m tests.bench.ptx run --folder FOLDER --out FILE   with torch and a GPU, no Warp: launches the same

`make` compiles the kernels ahead of time, to machine code for one architecture and to PTX, draws some noisy depth on
the CPU and writes down each launch: the bytes of its arguments, and what its arrays held before and after. `run`
launches them through CUDA's driver, compares what the arrays hold, and times each with as many rows as a GPU is given.
Machine code comes first, because a driver refuses PTX of a CUDA newer than its own. CuPy's RawModule would do the same
and is one package more: the driver takes each argument as a pointer to bytes, and these are Warp's own.

A kernel of Warp takes the launch's bounds, then its arguments: numbers and structs as they are, arrays as descriptors
of 56 bytes that begin with the address, followed by that of a gradient and the shape. Never run on a GPU so far;
`tests/render_workers/test_ptx.py` compares each argument's size with what the compiled kernel declares.
"""

import argparse
import ctypes
import json
import re
import struct
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

FIRST_PTX = "7.8"
THREADS = 256  # a block, as Warp compiles for
ROWS = 37  # poses that are drawn; no other axis is as long
ADDRESS, SHAPE = 0, 16  # of an array's descriptor, in bytes
FORMATS = {"float32": np.float32, "float64": np.float64, "int32": np.int32, "int64": np.int64, "bool": np.bool_}


# -- with Warp, no GPU ------------------------------------------------------------------------------------------------


def compiled(folder: Path, arch: int) -> None:
    """Compile all kernels to `kernels.cubin`, `kernels.ptx`, and `kernels_old.ptx` for drivers older than the compiler.

    The latter says that it is of the first version of PTX that knows Hopper. It needs nothing newer: ptxas of CUDA 12.9
    assembles it, and not the other.
    """
    import warp as wp

    from render_workers.kernels.module import MODULE, complete_module
    from render_workers.kernels.warp_start import start_warp

    start_warp()
    complete_module()
    for kind in ("cubin", "ptx"):
        wp.compile_aot_module(MODULE, arch=arch, module_dir=folder, use_ptx=kind == "ptx")
        next(path for path in folder.glob(f"*.{kind}") if path.stem != "kernels").rename(folder / f"kernels.{kind}")
    ptx = (folder / "kernels.ptx").read_text().rstrip("\0")
    (folder / "kernels.ptx").write_text(ptx)
    (folder / "kernels_old.ptx").write_text(for_older_drivers(ptx))


def for_older_drivers(ptx: str) -> str:
    """The same instructions, said to be of the first version of PTX that knows Hopper."""
    return re.sub(r"^\.version \S+", f".version {FIRST_PTX}", ptx, count=1, flags=re.MULTILINE)


@contextmanager
def noted() -> Iterator[list[dict[str, Any]]]:
    """Note what Warp launches on the CPU within this context, one thread an item as on a GPU."""
    import warp as wp

    from render_workers.kernels.launching import Launcher

    launches: list[dict[str, Any]] = []
    plain = wp.launch

    def noting(kernel: Any, dim: Any, inputs: list, outputs: list, device: Any) -> None:
        found = [_argument(kernel, arg, value) for arg, value in zip(kernel.adj.args, [*inputs, *outputs], strict=True)]
        arrays = [array for argument in found for array in argument["arrays"]]
        for array in arrays:
            array["before"] = _held(array)
        plain(kernel, dim, inputs, outputs, device=device)
        for array in arrays:
            array["after"] = _held(array)
        size = [dim] if isinstance(dim, int) else list(dim)
        name = f"{kernel.get_mangled_name()}_cuda_kernel_forward"
        launches.append({"kernel": name, "size": size, "arguments": found})

    def strided(self: Any, kernel: Any, rows: int, items: int, inputs: list, outputs: list) -> None:
        self(kernel, (rows, items), [*inputs, items], outputs)

    with mock.patch.object(wp, "launch", noting), mock.patch.object(Launcher, "strided", strided):
        yield launches


def _argument(kernel: Any, arg: Any, value: Any) -> dict[str, Any]:
    """An argument as Warp packs it, and where in it there are arrays."""
    from warp._src.context import pack_arg
    from warp._src.types import array_t, is_array

    packed = pack_arg(kernel, arg.type, arg.label, value, "cpu")
    places = [(0, packed, arg.type)] if is_array(arg.type) else []
    if isinstance(packed, ctypes.Structure) and not is_array(arg.type):
        kinds = {label: variable.type for label, variable in arg.type.vars.items()}
        named = [(name, kind) for name, kind in packed._fields_ if kind is array_t]
        places = [(getattr(type(packed), name).offset, getattr(packed, name), kinds[name]) for name, _ in named]
    arrays = [_array(at, descriptor, kind) for at, descriptor, kind in places]
    return {"label": arg.label, "bytes": bytes(packed), "arrays": arrays, "value": value}


def _array(at: int, descriptor: Any, kind: Any) -> dict[str, Any]:
    from warp._src.types import type_scalar_type

    shape = list(descriptor.shape[: descriptor.ndim])
    number = type_scalar_type(kind.dtype).__name__
    size = shape[0] * descriptor.strides[0]
    return {"at": at, "address": descriptor.data, "shape": shape, "bytes": size, "number": number}


def _held(array: dict[str, Any]) -> np.ndarray:
    return np.frombuffer(ctypes.string_at(array["address"], array["bytes"]), FORMATS[array["number"]]).copy()


def drawn() -> list[dict[str, Any]]:
    """Every kernel at least once: poses that are fitted, cropped, skinned, rasterised, disturbed and sampled."""
    from render_workers.worker import WorkerSpec
    from tests.bench.depth import human36m_cameras, request_for, standing_people

    worker = WorkerSpec(depth_name="noisy_zbuffer", device="cpu", micro_batch=ROWS).build()
    joints, camera = standing_people(ROWS), human36m_cameras(ROWS, distorted=True)
    with noted() as launches:
        worker.depth(request_for(joints, camera, camera.project(joints)))
    return launches


def make(folder: Path, arch: int) -> None:
    """Write kernels, launches and arrays."""
    folder.mkdir(parents=True, exist_ok=True)
    compiled(folder, arch)
    arrays: dict[str, np.ndarray] = {}
    launches = drawn()
    for launch in launches:
        for argument in launch["arguments"]:
            argument["bytes"] = argument["bytes"].hex()
            del argument["value"]
            for array in argument["arrays"]:
                number = len(arrays) // 2
                arrays[f"{number}_before"], arrays[f"{number}_after"] = array.pop("before"), array.pop("after")
                array["numbered"] = number
    np.savez_compressed(folder / "arrays.npz", **arrays)
    (folder / "launches.json").write_text(json.dumps({"rows": ROWS, "launches": launches}))


# -- with a GPU, no Warp ----------------------------------------------------------------------------------------------


def bounds(size: Sequence[int]) -> bytes:
    """The first argument of every kernel: the axes, their product, and how many threads share an item."""
    axes = struct.pack(f"<{len(size)}I", *size)
    return axes + b"\0" * (-len(axes) % 8) + struct.pack("<QQ", int(np.prod(size)), 1)


def pointed(packed: bytes, arrays: Sequence[dict[str, Any]], addresses: Sequence[int], rows: int | None) -> bytes:
    """An argument whose arrays lie elsewhere, those of a row for each pose with other rows; None: as they were."""
    changed = bytearray(packed)
    for array, address in zip(arrays, addresses, strict=True):
        struct.pack_into("<Q", changed, array["at"] + ADDRESS, address)
        if rows is not None and array["shape"][0] == ROWS:
            struct.pack_into("<i", changed, array["at"] + SHAPE, rows)
    return bytes(changed)


def resized(size: Sequence[int], rows: int) -> list[int]:
    """A launch's axes for other rows: its first axis is a thread for each pose, or for each few of them."""
    few = next(few for few in range(1, ROWS + 1) if -(-ROWS // few) == size[0])
    return [-(-rows // few), *size[1:]]


def declared(ptx: str) -> dict[str, list[int]]:
    """Bytes of each kernel's parameters, as PTX declares them."""
    found = {}
    for name, parameters in re.findall(r"\.visible \.entry (\w+)\((.*?)\)\s*\n", ptx, re.DOTALL):
        sizes = re.findall(r"\.param (?:\.align \d+ )?\.(\w+) \w+(?:\[(\d+)\])?", parameters)
        found[name] = [int(count) if count else int(kind[1:]) // 8 for kind, count in sizes]
    return found


class Driver:
    """CUDA's driver, in the context that torch made.

    Args:
        library: the driver's library, loaded.
    """

    def __init__(self, library: Any) -> None:
        self.library = library

    def module(self, files: Sequence[Path]) -> ctypes.c_void_p:
        """Load the first of several files that the driver takes."""
        found, codes = ctypes.c_void_p(), []
        for file in files:
            codes.append(self.library.cuModuleLoadData(ctypes.byref(found), file.read_bytes() + b"\0"))
            if not codes[-1]:
                return found
        raise RuntimeError(f"the driver takes none of {[f.name for f in files]}: errors {codes}")

    def function(self, module: ctypes.c_void_p, name: str) -> ctypes.c_void_p:
        """Find a kernel of a module."""
        found = ctypes.c_void_p()
        self._check(self.library.cuModuleGetFunction(ctypes.byref(found), module, name.encode()), name)
        return found

    def launch(self, function: ctypes.c_void_p, size: Sequence[int], stream: int, arguments: Sequence[bytes]) -> None:
        """Launch one thread for each item on a stream."""
        held = [ctypes.create_string_buffer(packed, len(packed)) for packed in (bounds(size), *arguments)]
        pointers = (ctypes.c_void_p * len(held))(*map(ctypes.addressof, held))
        blocks = -(-int(np.prod(size)) // THREADS)
        code = self.library.cuLaunchKernel(
            function, blocks, 1, 1, THREADS, 1, 1, 0, ctypes.c_void_p(stream), pointers, None
        )
        self._check(code, "launch")

    def _check(self, code: int, what: str) -> None:
        if code:
            raise RuntimeError(f"{what}: the driver answers error {code}")


def run(folder: Path, rows: int) -> list[dict[str, Any]]:
    """Launch what was noted: what differs from the CPU, and seconds with so many rows."""
    noted_down = json.loads((folder / "launches.json").read_text())
    assert noted_down["rows"] == ROWS
    for argument in [argument for launch in noted_down["launches"] for argument in launch["arguments"]]:
        argument["bytes"] = bytes.fromhex(argument["bytes"])
    torch.zeros(1, device="cuda")  # the context
    driver, held = Driver(ctypes.CDLL("libcuda.so.1")), np.load(folder / "arrays.npz")
    module = driver.module([folder / f"kernels{kind}" for kind in (".cubin", ".ptx", "_old.ptx")])
    lines = []
    for launch in noted_down["launches"]:
        function = driver.function(module, launch["kernel"])
        line = {"kernel": launch["kernel"]} | _compared(driver, function, launch, held)
        lines.append(line | {"rows": rows, "seconds": _timed(driver, function, launch, held, rows)})
    return lines


def given(
    launch: dict[str, Any], before: Callable[[dict], np.ndarray], rows: int | None, put: Callable[[np.ndarray], Any]
) -> tuple[list[bytes], list[tuple[dict, Any]]]:
    """Pack the arguments of a launch with arrays of its own.

    Args:
        launch: as noted.
        before: what an array held.
        rows: poses, the noted ones over and over; None: as many as were noted.
        put: makes what holds an array, and has `data_ptr`.

    Returns:
        The bytes of each argument, and each array with what holds it.
    """
    packed, arrays = [], []
    for argument in launch["arguments"]:
        there: list[Any] = []
        for array in argument["arrays"]:
            if not array["bytes"]:  # an array of no items has no address
                there.append(None)
                continue
            value = before(array).reshape(array["shape"][0], -1)
            if rows is not None and len(value) == ROWS:
                value = np.resize(value, (rows, value.shape[1]))
            there.append(put(value))
        arrays += [pair for pair in zip(argument["arrays"], there, strict=True) if pair[1] is not None]
        addresses = [0 if held is None else held.data_ptr() for held in there]
        packed.append(pointed(argument["bytes"], argument["arrays"], addresses, rows))
    return packed, arrays


def _on_gpu(launch: dict[str, Any], held: Any, rows: int | None) -> tuple[list[bytes], list[tuple[dict, Any]]]:
    return given(launch, lambda array: held[f"{array['numbered']}_before"], rows, lambda v: torch.from_numpy(v).cuda())


def _compared(driver: Driver, function: Any, launch: dict[str, Any], held: Any) -> dict[str, Any]:
    packed, arrays = _on_gpu(launch, held, None)
    driver.launch(function, launch["size"], torch.cuda.current_stream().cuda_stream, packed)
    largest, otherwise = 0.0, 0
    for array, tensor in arrays:
        one, two = tensor.cpu().numpy().ravel(), held[f"{array['numbered']}_after"]
        if not array["number"].startswith("float"):
            otherwise += int((one != two).sum())
            continue
        finite = np.isfinite(one) & np.isfinite(two)
        otherwise += int((np.isfinite(one) != np.isfinite(two)).sum())
        largest = max(largest, float(np.abs(one[finite] - two[finite]).max(initial=0.0)))
    return {"largest_difference": largest, "values_that_differ_in_kind": otherwise}


def _timed(driver: Driver, function: Any, launch: dict[str, Any], held: Any, rows: int) -> float:
    packed, arrays = _on_gpu(launch, held, rows)
    size = resized(launch["size"], rows)
    times = []
    for _ in range(6):
        torch.cuda.synchronize()
        before = time.perf_counter()
        driver.launch(function, size, torch.cuda.current_stream().cuda_stream, packed)
        torch.cuda.synchronize()
        times.append(time.perf_counter() - before)
    del arrays  # until here
    return min(times[1:])


def main(words: list[str] | None = None) -> int:
    """Read the arguments; make or run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("make", "run"))
    parser.add_argument("--folder", required=True, type=Path, help="what is made on one machine and run on another")
    parser.add_argument("--arch", type=int, default=90, help="of the GPU, 90 for an H100 or H200")
    parser.add_argument("--out", type=Path, help="file for the lines of JSON")
    parser.add_argument("--rows", type=int, default=4096, help="poses for the times")
    asked = parser.parse_args(words)
    if asked.what == "make":
        make(asked.folder, asked.arch)
        return 0
    if not torch.cuda.is_available():
        parser.error("torch sees no CUDA device")
    lines = "".join(json.dumps(line) + "\n" for line in run(asked.folder, asked.rows))
    if asked.out:
        asked.out.write_text(lines)
    sys.stdout.write(lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
