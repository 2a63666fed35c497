"""What can be told of CUDA graphs without a GPU: that no step mixes devices, and in which order the recorder asks for
what. The device is `meta`, which computes nothing.
"""

import sys
import warnings
from contextlib import contextmanager
from dataclasses import replace
from unittest import mock

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dg.methods.cuda_recorder import CudaRecorder
from dg.methods.graphed_steps import Recorder
from dg.methods.step_key import StepKey
from tests.bench.launches import _line, counted
from tests.bench.training import DEFAULT, RELEASED, make_method, source_batch

META = torch.device("meta")


class Elsewhere(TorchDispatchMode):
    """Notes operations on tensors of another device. There is no generator for `meta`: numbers are drawn without."""

    def __init__(self):
        super().__init__()
        self.found, self.operations = [], 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if kwargs.get("generator") is not None:
            kwargs |= {"generator": None, "device": META}
        given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        if any(t.device != META for t in given):
            self.found.append(f"{func.overloadpacket.__name__} at {_line()}")
        self.operations += 1
        if func is torch.ops.aten._fused_adam_.tensor_lr:  # which PyTorch has for devices that compute alone
            return None
        return func(*args, **kwargs)


class Looking(Recorder):
    """Takes each recording down, and replays nothing."""

    def __init__(self):
        self.seen = []

    @contextmanager
    def aside(self):
        with Elsewhere():
            yield []

    def record(self, work, generators):
        with Elsewhere() as elsewhere, counted() as calls:
            found = work()
        self.seen.append((elsewhere.operations, elsewhere.found, dict(calls.blocking)))
        return lambda: None, found


@pytest.mark.parametrize(
    "form", [pytest.param(DEFAULT, id="default"), pytest.param(RELEASED, marks=pytest.mark.long, id="released")]
)
def test_a_recorded_step_touches_no_tensor_of_the_host_and_waits_for_none(form, monkeypatch):
    """0-dim tensors of the host count too: a graph would keep their values."""
    generator = torch.Generator()
    monkeypatch.setattr(StepKey, "generator", lambda self, purpose, device="cpu": generator)
    monkeypatch.setattr("dg.methods.graphed_steps._new_generator", lambda device: generator)
    monkeypatch.setattr(sys.modules["torch.optim.adam"], "_device_dtype_check_for_fused", lambda parameter: None)
    monkeypatch.setattr("dg.methods.graphed_steps.WARM_UP", 1)
    monkeypatch.setattr("dg.methods.graphed_steps._same", lambda one, two: True)
    source = source_batch(8, 0).knowing(None)
    method = make_method(source, META, replace(form, history=8))
    method.finite_steps.deferred, method.graphs.recorder = True, Looking()
    method.graphs.note = pytest.fail
    method.pool_3d.size = method.pool_2d.size = 8
    source = source.to(META).knowing(None)
    for number in range(2):
        method.iterations = 0  # with discriminators
        method._step_augmentor(source, None, StepKey(0, 0, number))
        method.step_lifter(source)
        method.propose(source, StepKey(0, 0, number))
    seen = method.graphs.recorder.seen
    assert len(seen) == 3  # the augmentor's, the lifter's, the proposal
    assert [(found, blocking) for _, found, blocking in seen] == [([], {})] * 3
    assert max(operations for operations, _, _ in seen) > 500


@pytest.fixture
def cuda(monkeypatch):
    """PyTorch's CUDA interface as a list of calls."""
    calls = mock.MagicMock()
    calls.current_stream.return_value.name = "current"
    calls.graph.return_value.__exit__.return_value = False
    calls.get_sync_debug_mode.return_value = 1
    for name in ("Stream", "stream", "current_stream", "CUDAGraph", "graph", "graph_pool_handle",
                 "set_sync_debug_mode", "get_sync_debug_mode"):  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, getattr(calls, name))
    calls.stream.return_value.__exit__.return_value = False
    monkeypatch.setattr("dg.methods.cuda_recorder.renew_global_stream", calls.renew)
    monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", calls.end_pool, raising=False)
    return calls


def names(calls):
    return [name for name, _, _ in calls.mock_calls]


def test_generators_are_registered_before_the_capture_and_other_threads_may_go_on(cuda):
    recorder = CudaRecorder(torch.device("cuda", 0))
    replay, found = recorder.record(lambda: {"loss": 1}, [torch.Generator(), torch.Generator()])
    order = names(cuda)
    registered = [i for i, name in enumerate(order) if name == "CUDAGraph().register_generator_state"]
    assert len(registered) == 2
    assert max(registered) < order.index("graph().__enter__")
    assert cuda.graph.call_args.kwargs["stream"] is recorder.stream
    assert cuda.graph.call_args.kwargs["capture_error_mode"] == "thread_local"
    assert (replay, found) == (cuda.CUDAGraph().replay, {"loss": 1})


def test_after_a_capture_that_fails_the_random_stream_and_the_allocator_are_as_before(cuda):
    def work():
        raise RuntimeError("operation not permitted when stream is capturing")

    recorder = CudaRecorder(torch.device("cuda", 0))
    cuda.end_pool.side_effect = RuntimeError("not currently recording")
    with pytest.raises(RuntimeError, match="not permitted"):
        recorder.record(work, [])
    cuda.renew.assert_called_once_with(recorder.device)
    cuda.end_pool.assert_called_once_with(0, cuda.graph_pool_handle.return_value)
    assert names(cuda)[-1] == "stream().__exit__"


def test_a_step_aside_lies_between_what_was_given_before_and_after_and_tells_what_waits(cuda):
    recorder = CudaRecorder(torch.device("cuda", 0))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with recorder.aside() as waits:
            cuda.work()
            warnings.warn("called a synchronizing CUDA operation", stacklevel=1)
            warnings.warn("something else", stacklevel=1)
    assert [str(warning.message) for warning in told] == ["something else"]
    assert [wait.partition(":")[0] for wait in waits] == ["test_cuda_recorder.py"]
    order = [name for name in names(cuda) if "wait_stream" in name or name in ("work", "set_sync_debug_mode")]
    assert order == ["Stream().wait_stream", "set_sync_debug_mode", "work", "set_sync_debug_mode",
                     "current_stream().wait_stream"]  # fmt: skip
    assert [call.args[0] for call in cuda.set_sync_debug_mode.call_args_list] == ["warn", 1]
