"""Ray actors under fire: the answers are those of LocalPool, whatever dies."""

import logging
import os
import signal
import time

import numpy as np
import psutil
import pytest
import ray
from ray import exceptions

from render_workers import pool_core
from render_workers.pool import LocalPool
from render_workers.pool_options import PoolFailure, PoolOptions, ResourceError, WorkerStartError
from render_workers.pool_requests import Piece
from render_workers.pool_slots import SlotState
from render_workers.ray_actor import actor_class, start
from render_workers.ray_pool import RayPool, _Call
from tests.fakes import ROOT, BrokenSpec, FakeSpec, depth_of, make_request

WAIT_S = 300


@pytest.fixture(scope="module", autouse=True)
def _cluster(tmp_path_factory):
    ray.init("local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    yield
    ray.shutdown()


def ray_pool(spec, **options):
    options = {"actors": 2, "max_infra_tries": 3} | options
    return RayPool(spec, PoolOptions(**options), env={"PYTHONPATH": ROOT})


class Recorder:
    """Stands for the core and the pool, and keeps the names of the events."""

    def __init__(self):
        self.core, self.events = self, []

    def __getattr__(self, event):
        return lambda *args, **kwargs: self.events.append(event)


def raised(cause):
    return exceptions.RayTaskError("depth", "traceback", cause)


@pytest.mark.parametrize(
    ("error", "event"),
    [
        (raised(ValueError("bad pose")), "app_error"),
        (raised(exceptions.ObjectLostError("0" * 56, "", "")), "infra_error"),
        (exceptions.ObjectStoreFullError("full"), "infra_error"),
        (exceptions.ActorUnavailableError("unreachable", None), "unavailable"),
        (exceptions.ActorDiedError(), "died"),
        (exceptions.OutOfMemoryError("host memory"), "died"),
        (exceptions.RuntimeEnvSetupError("no such environment"), "fail"),
    ],
)
def test_every_error_of_ray_is_what_the_core_takes_it_for(error, event):
    recorder = Recorder()
    RayPool._failed(recorder, _Call("depth", 0, Piece(0, 0, 4)), error)
    assert recorder.events == [event]


def pids_of(pool, actors):
    """Wait until that many workers are live; their processes."""
    end = time.monotonic() + WAIT_S
    while pool.core.count(SlotState.LIVE) < actors and time.monotonic() < end:
        pool.poll()
        time.sleep(0.02)
    return [actor.place["pid"] for actor in pool._actors.values() if actor.place]


def assert_all_come_home(requests, futures, pool):
    for request, future in zip(requests, futures, strict=True):
        assert np.array_equal(future.result(WAIT_S).depth, depth_of(request))
    assert pool.ledger.quarantined == 0
    pool.ledger.check()


def test_answers_equal_those_of_the_local_pool_bit_for_bit():
    requests = [make_request(rows, seed, poison=(1,) if seed == 2 else ()) for seed, rows in enumerate([4, 300, 5, 1])]
    with LocalPool(FakeSpec().build) as local, ray_pool(FakeSpec()) as remote:
        ours = [pool.submit(request) for pool in (local, remote) for request in requests]
        answers = [future.result(WAIT_S) for future in ours]
        for here, there in zip(answers[:4], answers[4:], strict=True):
            assert here.depth.tobytes() == there.depth.tobytes()
            assert np.array_equal(here.valid, there.valid)
            assert there.depth.flags.writeable
        assert (remote.ledger.done, remote.ledger.quarantined) == (local.ledger.done, local.ledger.quarantined)
        assert np.flatnonzero(~answers[6].valid).tolist() == [1]


@pytest.mark.reliability  # many starts of workers
def test_killed_workers_lose_nothing_be_it_one_or_all():
    requests = [make_request(8, seed) for seed in range(20)]
    with ray_pool(FakeSpec(seconds=0.05)) as pool:
        futures = []
        for killed in (1, 2):
            pids = pids_of(pool, 2)
            futures += [pool.submit(request) for request in requests[len(futures) : len(futures) + 4]]
            for pid in pids[:killed]:
                os.kill(pid, signal.SIGKILL)
            futures += [pool.submit(request) for request in requests[len(futures) : len(futures) + 6]]
            assert_all_come_home(requests[: len(futures)], futures, pool)
        assert pool.core.figures.deaths == 3
        assert pool.status()["retried"] >= 3 * 8


@pytest.mark.reliability  # many starts of workers
def test_a_pose_that_kills_the_process_costs_that_pose():
    requests = [make_request(3, seed, poison=(2,) if seed == 1 else ()) for seed in range(4)]
    with ray_pool(FakeSpec(poison="exit"), max_infra_tries=1) as pool:
        answers = [pool.submit(request).result(WAIT_S) for request in requests]
        assert [np.flatnonzero(~answer.valid).tolist() for answer in answers] == [[], [2], [], []]
        for request, answer in zip(requests, answers, strict=True):
            assert np.array_equal(answer.depth[answer.valid], depth_of(request)[answer.valid])
        pool.ledger.check()


def test_actors_that_were_started_ahead_are_the_pools_first_and_one_too_many_ends():
    options, env = PoolOptions(actors=1), {"PYTHONPATH": ROOT}
    first, left = (start(actor_class(options, env=env)) for _ in range(2))
    request = make_request(4)
    with RayPool(FakeSpec(), options, env=env, started=[first, left]) as pool:
        assert np.array_equal(pool.submit(request).result(WAIT_S).depth, depth_of(request))
        assert pids_of(pool, 1) == [ray.get(first.where)["pid"]]
        with pytest.raises(exceptions.RayActorError):
            ray.get(left.handle.heartbeat.remote(), timeout=WAIT_S)


@pytest.mark.reliability
def test_an_actor_that_died_before_the_pool_was_made_is_replaced():
    options, env = PoolOptions(actors=2, max_infra_tries=3), {"PYTHONPATH": ROOT}
    started = [start(actor_class(options, env=env)) for _ in range(2)]
    dead = ray.get(started[0].where)["pid"]
    os.kill(dead, signal.SIGKILL)
    requests = [make_request(4, seed) for seed in range(6)]
    with RayPool(FakeSpec(), options, env=env, started=started) as pool:
        assert_all_come_home(requests, [pool.submit(request) for request in requests], pool)
        assert dead not in pids_of(pool, 2)


@pytest.mark.reliability
def test_a_hung_worker_is_replaced(tmp_path):
    requests = [make_request(4, seed, poison=(2,) if seed == 1 else ()) for seed in range(4)]
    spec = FakeSpec(poison="hang", once=str(tmp_path / "ill"))
    with ray_pool(spec, watchdog_s=1.0) as pool:
        pids_of(pool, 2)
        futures = [pool.submit(request) for request in requests]
        assert_all_come_home(requests, futures, pool)
        assert pool.core.figures.deaths == 1


@pytest.mark.reliability
def test_a_worker_that_cannot_be_built_shows_its_own_traceback(monkeypatch):
    monkeypatch.setattr(pool_core, "START_BUDGET", 1)
    with ray_pool(BrokenSpec(), actors=1) as pool:
        future = pool.submit(make_request(1))
        with pytest.raises(WorkerStartError, match=r"(?s)fakes\.py.*no body at body\.npz.*what to do"):
            future.result(WAIT_S)


@pytest.mark.reliability
def test_a_cluster_without_the_gpus_says_so():
    with ray_pool(FakeSpec(), gpus_per_actor=1.0, resource_patience_s=0.5) as pool:
        future = pool.submit(make_request(1))
        with pytest.raises(ResourceError, match=r"2 render actors x 1 CPU and 1 GPU.* 0 GPU \(0 free\)(?s:.*)try:"):
            future.result(WAIT_S)


@pytest.mark.reliability
def test_workers_see_no_gpu_keep_to_their_cores_and_are_gone_after_closing():
    pool = ray_pool(FakeSpec(seconds=0.2))
    processes = [psutil.Process(pid) for pid in pids_of(pool, 2)]
    assert len(processes) == 2
    for process in processes:
        assert process.environ()["CUDA_VISIBLE_DEVICES"] == ""
        assert process.environ()["OMP_NUM_THREADS"] == "1"
    future = pool.submit(make_request(2))
    pool.close()
    with pytest.raises(PoolFailure, match="closed"):
        future.result()
    _, alive = psutil.wait_procs(processes, timeout=WAIT_S)
    assert not alive
