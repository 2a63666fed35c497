"""What every method must do on a GPU: the steps of the CPU, without a wait for the device. The GPU is simulated."""

from collections import Counter

import pytest
import torch

from dg.methods import METHODS
from dg.methods.base import StepKey
from dg.pose.skeleton import H36M_17
from dg.training.pending import PendingRows
from lifters.dropout import Dropout
from tests.cases import mostly_long
from tests.contracts.test_every_method import make, render, source_batch
from tests.simulated_gpu import GPU, WAITS, simulated_gpu

STEPS = 12
FIRST = 6  # in the steps before, constants and optimisers' states are made, which stay on the device
# AdaptPose chooses poses by errors that it has computed just before: how many they are the host must know.
ALLOWED = {"adaptpose": {"_local_scalar_dense at batch.py", "nonzero at batch.py"}}
# How many steps were left out is asked for together, once for many.
COUNTED = "tolist at finite_steps.py"

every_method_some_long = pytest.mark.parametrize("name", mostly_long(sorted(METHODS), ["erm", "poseaug"]))


def steps(name, device, channels):
    """Make a method and its steps; returns their metrics, and what waited in the steps from the FIRST on."""
    method, waited, metrics = make(name, channels=channels, device=device), Counter(), {}
    for module in method.lifter.modules():
        if isinstance(module, Dropout):
            module.p = 0.0  # a GPU draws it in another way
    for number in range(STEPS):
        source = source_batch(H36M_17, number, channels).to(device).knowing(None)
        key = StepKey(3, 0, number)
        before = Counter(WAITS)
        proposed = method.propose(source, key)
        proposing = WAITS - before
        if proposed is not None:
            proposed = PendingRows(render(proposed.to("cpu"), channels).to(device)).result()
        torch.manual_seed(number)
        before = Counter(WAITS)
        update = method.update(source, proposed, key)
        if number >= FIRST:
            waited += proposing + (WAITS - before)
        metrics |= {f"{name} of step {number}": value.item() for name, value in update.metrics.items()}
    error = method.predict(source).cpu() - source.root_relative.cpu()
    return metrics | {"error": error.norm(dim=-1).mean().item()}, waited


@every_method_some_long
@pytest.mark.parametrize("channels", ["xyd", "uadd"])
def test_a_gpu_takes_the_steps_of_the_cpu_and_no_step_waits_for_it(name, channels):
    expected, _ = steps(name, "cpu", channels)
    with simulated_gpu():
        found, waited = steps(name, GPU, channels)
    assert found.pop("error") == pytest.approx(expected.pop("error"), rel=0.02)
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-5)
    assert {call.rpartition(":")[0] for call in waited} <= {COUNTED} | ALLOWED.get(name, set())
