"""The kernels as a GPU without Warp gets them: compiled ahead of time, and each argument as the kernel declares it."""

import ctypes

import numpy as np
import pytest
import torch
import warp as wp
from warp._src.types import array_t, launch_bounds_t

from render_workers.kernels.module import MODULE, complete_module
from render_workers.kernels.warp_start import start_warp
from tests.bench.ptx import ROWS, Driver, bounds, declared, drawn, for_older_drivers, given, pointed, resized


@pytest.fixture(scope="module")
def launches():
    return drawn()


def test_the_kernels_compile_for_cuda_and_take_what_is_packed(launches, tmp_path):
    start_warp()
    complete_module()
    wp.compile_aot_module(MODULE, arch=90, module_dir=tmp_path, use_ptx=True)
    ptx = next(tmp_path.glob("*.ptx")).read_text()
    found = declared(ptx)
    older = for_older_drivers(ptx)
    assert (declared(older), older.count(".version 7.8")) == (found, 1)
    for kernel in ("_project", "_rasterize", "fit", "skin", "crop", "sample", "draw", "disturb"):
        assert [name for name in found if name.startswith(f"{kernel}_")], kernel
    packed = {
        launch["kernel"]: [len(bounds(launch["size"])), *[len(a["bytes"]) for a in launch["arguments"]]]
        for launch in launches
    }
    assert packed == found


@pytest.mark.parametrize("size", [(37,), (5, 1229), (2, 3, 4), (2, 3, 4, 5)])
def test_the_bounds_of_a_launch_are_packed_as_warp_packs_them(size):
    assert bounds(size) == bytes(launch_bounds_t(size))


def plain_arguments(launch, packed):
    """What Warp's launch takes, out of packed bytes."""
    values = []
    for argument, changed in zip(launch["arguments"], packed, strict=True):
        if argument["arrays"]:
            values.append(array_t.from_buffer_copy(changed))
        else:
            values.append(argument["value"])
    return values


@pytest.mark.parametrize("rows", [None, 2 * ROWS])
def test_a_launch_with_other_arrays_gives_what_was_noted(launches, rows):
    """By Warp on the CPU, from the packed bytes; all kernels but `fit`, whose struct Warp packs by itself alone."""
    kernels = {f"{kernel.get_mangled_name()}_cuda_kernel_forward": kernel for kernel in MODULE.kernels.values()}
    for launch in launches:
        if any(len(argument["arrays"]) > 1 for argument in launch["arguments"]):
            continue
        packed, arrays = given(launch, lambda array: array["before"], rows, lambda v: torch.from_numpy(v.copy()))
        size = launch["size"] if rows is None else resized(launch["size"], rows)
        wp.launch(kernels[launch["kernel"]], size, plain_arguments(launch, packed), [], device="cpu")
        for array, held in arrays:
            found, after = held.numpy(), array["after"].reshape(array["shape"][0], -1)
            assert np.array_equal(found[: len(after)], after, equal_nan=True), launch["kernel"]
            assert np.array_equal(found[-len(after) :], after, equal_nan=True), launch["kernel"]


def test_only_addresses_and_rows_of_an_argument_are_changed():
    before = array_t(data=1, grad=0, ndim=2, shape=(ROWS, 4), strides=(48, 12))
    array = {"at": 0, "shape": [ROWS, 4]}
    after = array_t.from_buffer_copy(pointed(bytes(before), [array], [2**40 + 8], 99))
    assert (after.data, list(after.shape[:2]), list(after.strides[:2]), after.ndim) == (2**40 + 8, [99, 4], [48, 12], 2)
    after.data, after.shape[0] = 1, ROWS
    assert bytes(after) == bytes(before)
    other = array_t.from_buffer_copy(pointed(bytes(before), [{"at": 0, "shape": [5, 4]}], [7], 99))
    assert other.shape[0] == ROWS


class Library:
    """CUDA's driver as far as it is called."""

    def __init__(self, refused=()):
        self.refused, self.launched = refused, []

    def cuModuleLoadData(self, module, content):  # noqa: N802 - the driver's name
        if content.rstrip(b"\0") in self.refused:
            return 222
        ctypes.cast(module, ctypes.POINTER(ctypes.c_void_p))[0] = 5
        return 0

    def cuModuleGetFunction(self, function, module, name):  # noqa: N802
        return 0 if name == b"skin" else 500

    def cuLaunchKernel(self, function, *given):  # noqa: N802
        *grid, shared, stream, pointers, _ = given
        held = [ctypes.string_at(pointer, size) for pointer, size in zip(pointers, (24, 4), strict=True)]
        self.launched.append((grid, shared, stream.value, held))
        return 0


def test_the_driver_is_given_each_argument_by_its_address(tmp_path):
    library = Library(refused=(b"newer",))
    driver = Driver(library)
    files = [tmp_path / "kernels.cubin", tmp_path / "kernels.ptx"]
    files[0].write_bytes(b"newer")
    files[1].write_bytes(b"older")
    module = driver.module(files)
    assert module.value == 5
    driver.launch(driver.function(module, "skin"), (5, 1229), 77, [b"four"])
    assert library.launched == [([25, 1, 1, 256, 1, 1], 0, 77, [bounds((5, 1229)), b"four"])]
    with pytest.raises(RuntimeError, match="fit: the driver answers error 500"):
        driver.function(module, "fit")
    with pytest.raises(RuntimeError, match=r"none of \['kernels.cubin'\]: errors \[222\]"):
        driver.module(files[:1])
