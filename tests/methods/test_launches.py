"""What a step asks of a GPU, counted without one: operations, and calls that wait for the device.

The counts are upper bounds of what was measured when they were written: a change that raises them shows it here.
"""

import pytest
import torch

from dg.methods.base import StepKey
from dg.training.pending import PendingRows
from tests.bench.launches import counted
from tests.bench.training import DEFAULT, RELEASED, make_method, source_batch


@pytest.fixture(scope="module", params=[DEFAULT, RELEASED], ids=["default", "released"])
def counts(request):
    """Two iterations with all parts, discriminators in the first, as they are on a GPU."""
    source = source_batch(64, 0).knowing(None)
    method = make_method(source, options=request.param)
    method.finite_steps.deferred = True

    def propose(number):
        key = StepKey(0, 0, number)
        # Without depth, from which the host would know which proposals can be used.
        return key, PendingRows(method.propose(source, key))

    found = []
    for number in range(4):
        with counted() as count:
            key, ahead = propose(number)
        proposed = ahead.result()  # some batches later: on a GPU its event has long passed
        with counted() as rest:
            method.update(source, proposed, key)
        count.operations += rest.operations
        count.blocking += rest.blocking
        found.append(count)
    return found[2:]


def test_a_poseaug_iteration_never_waits_for_the_device(counts):
    assert [call for count in counts for call in count.blocking] == []


def test_a_poseaug_iteration_launches_no_more_than_it_did(counts):
    assert max(count.total for count in counts) <= 1650


def test_the_counter_sees_what_would_wait():
    values = torch.arange(4.0)
    with counted() as count:
        bool((values > 1).any())
        values[values > 1]
        values[[0, 2]]
        torch.tensor([1.0, 2.0])
        values.to("meta")
        values[:2] + 1
    assert count.blocked == 5
    assert count.operations["add"] == 1
    assert count.operations["gt"] == 2
