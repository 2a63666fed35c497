"""The pool inside one process."""

from concurrent.futures import TimeoutError as FutureTimeoutError

import numpy as np
import pytest

from render_workers.base import RenderAnswer
from render_workers.pool import LocalPool
from render_workers.pool_options import PoolFailure, PoolOptions, QuarantineError, WorkerStartError
from tests.fakes import BrokenSpec, FakeSpec, FakeWorker, depth_of, make_request


@pytest.mark.parametrize("actors", [1, 3])
def test_every_request_comes_home_with_its_own_answer(actors):
    requests = [make_request(rows, seed) for seed, rows in enumerate([5, 1, 8, 3, 2, 9, 4, 7, 6, 5, 5, 5])]
    with LocalPool(FakeSpec().build, PoolOptions(actors=actors, max_backlog=3)) as pool:
        futures = [pool.submit(request) for request in requests]
        for request, future in reversed(list(zip(requests, futures, strict=True))):
            answer = future.result()
            assert np.array_equal(answer.depth, depth_of(request))
            assert answer.valid.all()
        pool.ledger.check()
        assert pool.ledger.done == 60


@pytest.mark.parametrize("poison", ["raise", "nan"])
def test_a_poisoned_pose_costs_one_pose(poison):
    request = make_request(13, poison=(4, 11))
    with LocalPool(FakeSpec(poison=poison).build) as pool:
        answer = pool.submit(request).result()
        assert np.flatnonzero(~answer.valid).tolist() == [4, 11]
        assert np.isnan(answer.depth[[4, 11]]).all()
        assert np.array_equal(answer.depth[answer.valid], depth_of(request)[answer.valid])
        assert (pool.ledger.done, pool.ledger.quarantined) == (11, 2)
        pool.ledger.check()


def test_a_systematic_fault_stops_the_run_with_its_cause():
    with LocalPool(FakeSpec().build, PoolOptions(actors=1, max_quarantine=3)) as pool:
        future = pool.submit(make_request(64, poison=tuple(range(64))))
        with pytest.raises(QuarantineError, match="this pose cannot be drawn"):
            future.result()
        with pytest.raises(QuarantineError):
            pool.submit(make_request(2))


def test_an_answer_of_the_wrong_shape_is_the_workers_error():
    class Short(FakeWorker):
        def depth(self, request):
            return RenderAnswer(np.zeros((1, 3), np.float32), np.ones(1, bool))

    with LocalPool(Short, PoolOptions(actors=1, max_quarantine=0)) as pool:
        future = pool.submit(make_request(1))
        with pytest.raises(QuarantineError, match=r"answered \(1, 3\), expected \(1, 17\)"):
            future.result()


def test_a_worker_that_cannot_be_built_shows_its_own_traceback():
    pool = LocalPool(BrokenSpec().build)
    with pytest.raises(WorkerStartError, match=r"(?s)fakes\.py.*no body at body\.npz"):
        pool.submit(make_request(1)).result()


def test_an_empty_request_is_answered_at_once():
    with LocalPool(FakeSpec().build) as pool:
        assert pool.submit(make_request(0)).result().depth.shape == (0, 17)


def test_waiting_can_time_out_and_closing_fails_what_is_open():
    pool = LocalPool(FakeSpec(seconds=0.05).build)
    futures = [pool.submit(make_request(2, seed)) for seed in range(3)]
    with pytest.raises(FutureTimeoutError, match="no answer within"):
        futures[-1].result(timeout=0.01)
    assert not futures[-1].cancel()
    pool.close()
    pool.close()
    with pytest.raises(PoolFailure, match="closed"):
        futures[-1].result()
    with pytest.raises(PoolFailure, match="closed"):
        pool.submit(make_request(1))
