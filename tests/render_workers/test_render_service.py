"""One pool for several runs: each gets its own answers, whoever dies, and nothing of a dead one is left."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
import uuid
from threading import Thread

import numpy as np
import psutil
import pytest
import ray
from ray import exceptions

from dg.settings.plugins import OptionError
from render_workers import pool_core
from render_workers.pool import LocalPool
from render_workers.pool_options import PoolFailure, PoolOptions, QuarantineError, ResourceError, WorkerStartError
from render_workers.ray_pool import RayPool
from render_workers.render_service import RenderService, start_service
from render_workers.service_pool import ServicePool
from tests.fakes import ROOT, BrokenSpec, FakeSpec, depth_of, make_request
from tests.render_workers.service_owner import PacedSpec

pytestmark = pytest.mark.reliability

WAIT_S = 300
ENV = {"PYTHONPATH": ROOT, "OMP_NUM_THREADS": "1"}
OPTIONS = PoolOptions(actors=2, max_infra_tries=3)
CREDITS = 2 * (4 + 2)


class Served:
    """A service with two workers, and what tests do to it."""

    def __init__(self):
        namespace = f"dg-{uuid.uuid4().hex[:8]}"
        self.name = f"{namespace}/render"
        self.actor = start_service(PacedSpec(), OPTIONS, namespace, env=ENV)

    def pool(self, **options):
        return ServicePool(self.name, PacedSpec(), PoolOptions(**options))

    def status(self):
        return ray.get(self.actor.status.remote())

    def until(self, true):
        end = time.monotonic() + WAIT_S
        while not true(status := self.status()):
            assert time.monotonic() < end, status
            time.sleep(0.05)
        return status


def megabytes_stored():
    """In the object store of the cluster, as Ray last counted them."""
    return (ray.cluster_resources()["object_store_memory"] - ray.available_resources()["object_store_memory"]) / 1e6


@pytest.fixture(scope="module")
def cluster():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")
        ray.init("local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        yield
        ray.shutdown()


@pytest.fixture(scope="module")
def _kept(cluster):
    return []


@pytest.fixture
def served(_kept):
    """A service that is up, with nobody at it: the last test's, unless that ended it."""
    try:
        _kept[0].until(lambda status: status["owners"] == 0)
    except (IndexError, exceptions.RayError):
        _kept[:] = [Served()]
    _kept[0].until(lambda status: status["live"] == 2)
    return _kept[0]


def family(name):
    """Processes of this test's cluster with such a title."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if name in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def come_home(pool, requests, answers):
    futures = [pool.submit(request) for request in requests]
    answers += [future.result(WAIT_S) for future in futures]


def test_all_pools_give_the_same_answers_bit_for_bit(served):
    requests = [make_request(rows, seed, poison=(1,) if seed == 2 else ()) for seed, rows in enumerate([4, 300, 5, 1])]
    answers = []
    for pool in (LocalPool(PacedSpec().build), RayPool(PacedSpec(), PoolOptions(actors=1), env=ENV), served.pool()):
        with pool:
            answers.append([pool.submit(request).result(WAIT_S) for request in requests])
            assert (pool.ledger.done, pool.ledger.quarantined) == (309, 1)
            pool.ledger.check()
    for here, *others in zip(*answers, strict=True):
        for there in others:
            assert there.depth.tobytes() == here.depth.tobytes()
            assert np.array_equal(there.valid, here.valid)
            assert there.depth.flags.writeable


def test_three_owners_get_their_own_answers_while_an_actor_is_killed(served):
    pools = [served.pool() for _ in range(3)]
    requests = [[make_request(20, 100 * owner + number) for number in range(25)] for owner in range(3)]
    answers = [[], [], []]
    before = served.status()
    threads = [Thread(target=come_home, args=work) for work in zip(pools, requests, answers, strict=True)]
    for thread in threads:
        thread.start()
    # Early: once all is drawn nobody notices that an actor has gone.
    served.until(lambda status: status["done"] >= before["done"] + 20)
    family("_RenderActor")[0].send_signal(signal.SIGKILL)
    for thread in threads:
        thread.join(WAIT_S)
    for pool, sent, came in zip(pools, requests, answers, strict=True):
        assert len(came) == 25
        for request, answer in zip(sent, came, strict=True):
            assert np.array_equal(answer.depth, depth_of(request))
        assert (pool.ledger.submitted, pool.ledger.done) == (500, 500)
        pool.close()
    status = served.until(lambda status: status["owners"] == 0 and status["deaths"] == before["deaths"] + 1)
    assert status["waiting"] == status["in_flight"] == 0
    assert status["done"] == before["done"] + 1500
    assert 0 < status["busy"] <= 1


def test_a_killed_owner_leaves_neither_work_nor_memory_and_the_others_finish(served):
    address = ray.get_runtime_context().gcs_address
    program = "import sys; from tests.render_workers.service_owner import main; main(*sys.argv[1:])"
    words = [sys.executable, "-c", program, address, served.name, str(CREDITS), "2000"]
    victim = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=os.environ | ENV, cwd=ROOT)
    before = served.status()
    try:
        assert victim.stdout.readline() == "sent\n"
        with served.pool() as pool:
            requests = [make_request(50, number) for number in range(8)]
            futures = [pool.submit(request) for request in requests]
            assert served.until(lambda status: status["owners"] == 2)["waiting"] >= 5
            served.until(lambda _: megabytes_stored() > 4)
            victim.kill()
            for request, future in zip(requests, futures, strict=True):
                assert np.array_equal(future.result(WAIT_S).depth, depth_of(request))
            served.until(lambda _: megabytes_stored() < 1)
            status = served.until(lambda status: status["owners"] == 1)
            assert status["waiting"] == 0
            status = served.until(lambda status: status["in_flight"] == 0)
            # What was with the workers may have been drawn; what was queued has not been, nor was it quarantined.
            assert status["done"] - before["done"] < 8 * 50 + CREDITS * 2000
            assert status["quarantined"] == before["quarantined"]
            assert np.array_equal(pool.submit(requests[0]).result(WAIT_S).depth, depth_of(requests[0]))
    finally:
        victim.kill()
        victim.wait()
        victim.stdout.close()


def test_a_greedy_owner_does_not_keep_a_modest_one_waiting(served):
    with served.pool() as greedy, served.pool() as modest:
        # A second each, so that a busy machine still sees them wait.
        many = [greedy.submit(make_request(1000, number)) for number in range(CREDITS)]
        before = served.until(lambda status: status["waiting"] >= CREDITS - 5)
        modest.submit(make_request(8, 99)).result(WAIT_S)
        # Two are with each worker and one is next; then it is the modest one's turn.
        assert served.status()["done"] - before["done"] < (CREDITS - 2) * 1000
        for future in many:
            future.result(WAIT_S)


def test_an_owner_has_so_many_requests_with_the_service_and_no_more(served):
    with served.pool() as pool:
        for number in range(CREDITS + 1):
            pool.submit(make_request(500, number))
        assert pool.ledger.done == 0
        assert pool.status()["in_flight"] == CREDITS
        assert pool.status()["backlog"] == 1
        pool.submit(make_request(500, 99))
        assert pool.ledger.done >= 500


def test_poisoned_poses_are_quarantined_for_their_owner_alone(served, caplog):
    bad, good = make_request(9, 1, poison=(2, 7)), make_request(9, 2)
    with served.pool() as ill, served.pool(max_quarantine=0) as well:
        futures = ill.submit(bad), well.submit(good)
        answers = [future.result(WAIT_S) for future in futures]
        assert np.flatnonzero(~answers[0].valid).tolist() == [2, 7]
        assert np.array_equal(answers[0].depth[answers[0].valid], depth_of(bad)[answers[0].valid])
        assert answers[1].valid.all()
        assert (ill.ledger.done, ill.ledger.quarantined) == (7, 2)
        assert (well.ledger.done, well.ledger.quarantined) == (9, 0)
        ill.ledger.check()
        assert ill.status()["quarantined"] == 2
    said = [record.getMessage() for record in caplog.records]
    for row in (2, 7):
        assert sum(f"quarantined pose {row} of" in line and "cannot be drawn" in line for line in said) == 1


def test_an_owner_with_too_many_bad_poses_stops_with_the_cause_and_the_others_go_on(served):
    with served.pool(max_quarantine=1) as ill, served.pool() as well:
        with pytest.raises(QuarantineError, match=r"2 of 4 poses.*(?s:.*)this pose cannot be drawn"):
            ill.submit(make_request(4, 1, poison=(0, 3))).result(WAIT_S)
        assert well.submit(make_request(4, 2)).result(WAIT_S).valid.all()


def test_closing_fails_what_is_open_and_frees_the_place(served):
    pool = served.pool()
    futures = [pool.submit(make_request(200, number)) for number in range(8)]
    pool.close()
    pool.close()
    with pytest.raises(PoolFailure, match="closed"):
        futures[-1].result()
    with pytest.raises(PoolFailure, match="closed"):
        pool.submit(make_request(1))
    assert served.until(lambda status: status["owners"] == 0)["waiting"] == 0


def test_a_run_that_asks_for_other_pictures_is_refused_by_name(served):
    with pytest.raises(OptionError, match=r"pace_s=0\.5, the service 0\.001(?s:.*)leave render\.service out"):
        ServicePool(served.name, PacedSpec(0.5))
    with pytest.raises(OptionError, match="FakeSpec"):
        ServicePool(served.name, FakeSpec())


def test_workers_that_cannot_be_built_stop_every_owner_with_their_own_traceback(served, monkeypatch):
    monkeypatch.setattr(pool_core, "START_BUDGET", 1)
    payload, lease = [ray.put(make_request(1).pack())], [served.actor.attend.remote("test")]

    async def owners():
        service = RenderService(BrokenSpec(), PoolOptions(actors=1), env=ENV)
        for owner in "ab":
            await service.join(owner, lease)
        work = [service.render(owner, 0, payload, (1, 17)) for owner in "ab"]
        return await asyncio.gather(*work, return_exceptions=True)

    for error in asyncio.run(owners()):
        assert isinstance(error, WorkerStartError)
        assert "no body at body.npz" in str(error)
    ray.get(served.actor.leave.remote("test"))


def test_a_service_that_dies_comes_back_and_nothing_is_lost(served):
    with served.pool() as pool:
        requests = [make_request(50, number) for number in range(12)]
        futures = [pool.submit(request) for request in requests[:6]]
        futures[0].result(WAIT_S)
        family("RenderService")[0].kill()
        futures += [pool.submit(request) for request in requests[6:]]
        for request, future in zip(requests, futures, strict=True):
            assert np.array_equal(future.result(WAIT_S).depth, depth_of(request))
        assert (pool.ledger.submitted, pool.ledger.done) == (600, 600)


def test_without_its_service_a_run_ends_and_says_what_to_do_and_no_worker_is_left(served):
    workers = family("_RenderActor")
    assert len(workers) == 2
    pool = served.pool()
    future = pool.submit(make_request(500))
    ray.kill(served.actor, no_restart=True)
    with pytest.raises(ResourceError, match=r"render service dg-.* is gone(?s:.*)what to do: give the sweep's command"):
        future.result(WAIT_S)
    pool.close()
    with pytest.raises(ResourceError, match=r"expected a render service(?s:.*)found none(?s:.*)what to do"):
        served.pool()
    _, alive = psutil.wait_procs(workers, timeout=WAIT_S)
    assert not alive
