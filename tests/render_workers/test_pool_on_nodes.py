"""The pool on a cluster whose nodes come, go, are taken away and lack things. The head has no CPUs, as in ours."""

import logging
import os
import signal
import threading
import time

import numpy as np
import pytest
import ray
from ray.cluster_utils import Cluster

from render_workers.pool_options import PoolOptions, ResourceError
from render_workers.pool_slots import Dispatch, SlotState
from render_workers.ray_pool import LOOK_EVERY_S, RayPool
from tests.conftest import make_joints
from tests.fakes import ROOT, FakeSpec, depth_of, make_request
from tests.render_workers.odd_specs import Cramped, SlowToLoad
from tests.render_workers.test_worker import request_for, worker

pytestmark = pytest.mark.reliability

WAIT_S = 300
PREEMPTION = 2  # autoscaler.DrainNodeReason


class Watched(RayPool):
    """Remembers where work went."""

    used: set[str]

    def __init__(self, spec, **options):
        self.used = set()
        given = {"actors": 1, "joined": True, "max_infra_tries": 3} | options
        super().__init__(spec, PoolOptions(**given), env={"PYTHONPATH": ROOT})

    def _execute(self, command):
        if isinstance(command, Dispatch):
            self.used.add(self.core.slots[command.slot].node)
        super()._execute(command)

    def until(self, condition):
        """Seconds until something is so; polls as a trainer that waits does."""
        start = time.monotonic()
        while not condition(self):
            assert time.monotonic() - start < WAIT_S, self.status()
            self._pump(0.05)
        return time.monotonic() - start

    def until_live(self, workers):
        return self.until(lambda pool: pool.core.count(SlotState.LIVE) == workers)


@pytest.fixture(scope="module")
def nodes():
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    cluster.add_node(num_cpus=2, num_gpus=1)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def render_all(pool, requests, meanwhile=lambda done: None):
    """Submit all, call `meanwhile` with the number of answers that are home, and check every answer; seconds taken."""
    start = time.monotonic()
    futures = []
    for number, request in enumerate(requests):
        futures.append(pool.submit(request))
        meanwhile(number)
    for request, future in zip(requests, futures, strict=True):
        assert np.array_equal(future.result(WAIT_S).depth, depth_of(request))
    assert pool.ledger.quarantined == 0
    pool.ledger.check()
    return time.monotonic() - start


def test_two_actors_share_a_gpu_and_grow_no_further_than_the_room(nodes):
    with Watched(FakeSpec(), gpus_per_actor=0.5, cpus_per_actor=0.1, actors=2, max_actors=3) as pool:
        pool.until_live(2)
        assert [actor.place["gpus"] for actor in pool._actors.values() if actor.place] == ["0", "0"]
        # One more is asked for and has no place: an autoscaler would start a node for it.
        pool.until(lambda pool: pool.core.count(SlotState.PENDING) == 1)
        time.sleep(LOOK_EVERY_S + 0.1)
        render_all(pool, [make_request(4, seed) for seed in range(6)])
        assert (pool.status()["target"], pool.status()["live"], pool.status()["starting"]) == (3, 2, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gpus_per_actor": 8.0}, r"1 render actors x 1 CPU and 8 GPU.*1 GPU \(1 free\).*no node has 8 GPU, the larg"),
        (
            {"gpus_per_actor": 1.0, "actors": 8, "min_actors": 8},
            r"8 render actors.*8 must run.*1 GPU \(0 free\).* 1 of them have a place",
        ),
    ],
)
def test_what_the_cluster_cannot_give_is_named(nodes, options, message):
    with Watched(FakeSpec(), resource_patience_s=3.0, **options) as pool:
        future = pool.submit(make_request(1))
        with pytest.raises(ResourceError, match=rf"(?s)cannot start: asked for {message}.*try: "):
            future.result(WAIT_S)
        assert "cannot start" in pool.last_error()
    assert PoolOptions().resource_patience_s + LOOK_EVERY_S < 60


def test_a_worker_that_loads_for_long_has_its_place_and_is_waited_for(nodes):
    with Watched(SlowToLoad(4.5), resource_patience_s=0.5, gpus_per_actor=1.0) as pool:
        render_all(pool, [make_request(2)])


def test_memory_that_runs_out_costs_speed_and_no_pose(nodes):
    request = request_for(make_joints(300))
    with Watched(Cramped(room=70)) as pool:
        answer = pool.submit(request).result(WAIT_S)
        assert np.abs(answer.depth - worker().depth(request).depth).max() < 1e-4
        status = pool.status()
        assert (status["micro_batch"], status["halvings"], status["retried"], status["deaths"]) == (64, 2, 0, 0)


def test_answers_are_the_same_from_one_and_from_four_actors_whoever_dies(nodes):
    requests = [make_request(7, seed) for seed in range(16)]
    few = {"joined": False, "cpus_per_actor": 0.25}
    with Watched(FakeSpec(), actors=1, **few) as one, Watched(FakeSpec(seconds=0.02), actors=4, **few) as four:
        four.until_live(4)
        futures = [four.submit(request) for request in requests[:9]]
        os.kill(next(iter(four._actors.values())).place["pid"], signal.SIGKILL)
        futures += [four.submit(request) for request in requests[9:]]
        answers = [future.result(WAIT_S).depth.tobytes() for future in futures]
        assert answers == [one.submit(request).result(WAIT_S).depth.tobytes() for request in requests]
        assert (one.status()["deaths"], four.status()["deaths"]) == (0, 1)


def test_a_pool_that_took_every_cpu_gives_one_to_a_trial_that_waits_and_takes_it_back(nodes):
    @ray.remote(num_cpus=1)
    class Trial:
        def here(self):
            return True

    with Watched(FakeSpec(seconds=0.05)) as pool:
        pool.until_live(2)
        futures = [pool.submit(make_request(2, seed)) for seed in range(6)]
        trial = Trial.remote()
        waiting = trial.here.remote()
        pool.until(lambda _: ray.wait([waiting], timeout=0)[0])
        assert (pool.status()["live"], pool.status()["target"]) == (1, 1)
        ray.kill(trial)
        pool.until_live(2)
        assert all(future.done() for future in futures)
        assert (pool.status()["deaths"], pool.status()["preempted"], pool.status()["retried"]) == (0, 0, 0)


def test_actors_come_and_go_with_their_nodes(nodes):
    """Joins, is lost without a word, comes back, is taken away on notice: used, fenced, used, left."""
    with Watched(FakeSpec(seconds=0.2)) as pool:
        pool.until_live(2)
        requests = [make_request(4, seed) for seed in range(48)]
        whole_s = render_all(pool, requests)
        added = nodes.add_node(num_cpus=2)
        joined_s = pool.until_live(4)
        render_all(pool, requests[:8])
        assert added.node_id in pool.used

        # Long enough for what the loss itself costs, a few seconds, to be told from the capacity that is lost.
        many = [make_request(4, seed) for seed in range(300)]
        killed, done, submitted_at = [], pool.ledger.done, []
        # In a thread of its own: it takes seconds on a busy machine, and this thread is the pool's trainer.
        loss = threading.Thread(target=nodes.remove_node, args=(added,), kwargs={"allow_graceful": False})

        def kill(number):
            submitted_at.append(time.monotonic())
            if number == 12:
                loss.start()
                killed.append((pool.ledger.done - done) / 4)

        killed_s = render_all(pool, many, kill)
        loss.join()
        # The pace of two actors is taken from this run's second half, where a request is submitted as one is answered:
        # other work on the machine slows the whole run, and a pace from before would call that the loss's.
        half = len(many) // 2
        batch_s = (submitted_at[-1] - submitted_at[half]) / (len(many) - 1 - half)
        assert batch_s < 2 * whole_s / len(requests)
        lost_s = (len(many) - killed[0]) * batch_s / 2
        extra_s = killed_s - len(many) * batch_s / 2
        assert extra_s < 1.2 * lost_s + 1
        pool.until(lambda pool: pool.status()["target"] == 2 and pool.status()["starting"] == 0)

        added = nodes.add_node(num_cpus=2)
        whole_again_s = pool.until_live(4)
        deaths, retried = pool.status()["deaths"], pool.ledger.retried
        gcs = ray._private.worker.global_worker.gcs_client

        def drain(number):
            if number == 12:
                assert gcs.drain_node(added.node_id, PREEMPTION, "spot", int(1000 * (time.time() + 60)))[0]

        render_all(pool, requests, drain)
        pool.until(lambda pool: pool.status()["preempted"] == 2)
        nodes.remove_node(added, allow_graceful=False)
        render_all(pool, requests[:8])
        assert (pool.status()["deaths"], pool.ledger.retried) == (deaths, retried)
        assert pool.status()["live"] == 2
        seconds = {"joined": joined_s, "2 of 4 killed": killed_s, "whole again": whole_again_s}
        print({name: round(value, 2) for name, value in seconds.items()})
        print(f"2 of 4 actors lost in a run of {killed_s:.1f} s cost {extra_s / lost_s:.2f} times the lost capacity")
