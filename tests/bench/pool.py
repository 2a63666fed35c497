"""What the Ray pool costs: `python -m tests.bench.pool` prints one JSON object, its ratios measured in one run.

overhead_ms: wall time of a 1024-pose batch through RayPool less that through LocalPool, with trivial work, a look-ahead
of 4, median of the rounds; goal at most 5. overlap_ratio: wall time of a trainer that spends T a batch while three
actors need 2 T a batch, relative to the trainer's own time; goal at most 1.25. service_overhead_ms: the same batches
through a render service with as many actors, less those through RayPool; goal at most 2, SYSTEMS 2.2 has 3.6 and 1.6.
"""

import json
import logging
import os
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

import ray

from render_workers.base import RenderPool, RenderRequest
from render_workers.pool import LocalPool
from render_workers.pool_options import PoolOptions
from render_workers.pool_slots import SlotState
from render_workers.ray_pool import RayPool
from render_workers.render_service import start_service
from render_workers.service_pool import ServicePool
from tests.fakes import ROOT, FakeSpec, make_request

POSES = 1024
BATCHES = 100
ROUNDS = 5
LOOK_AHEAD = 4
STEP_S = 0.05


def run(pool: RenderPool, requests: list[RenderRequest], batches: int, step_s: float = 0.0) -> float:
    """Seconds for so many batches, consumed in order, `LOOK_AHEAD` of them submitted ahead."""
    start, ahead = time.perf_counter(), deque()
    for batch in range(batches):
        ahead.append(pool.submit(requests[batch % len(requests)]))
        if len(ahead) > LOOK_AHEAD:
            ahead.popleft().result()
            time.sleep(step_s)
    while ahead:
        ahead.popleft().result()
        time.sleep(step_s)
    pool.ledger.check()
    return time.perf_counter() - start


def start(spec: FakeSpec, actors: int) -> RayPool:
    """A pool whose actors are all live."""
    pool = RayPool(spec, PoolOptions(actors=actors), env={"PYTHONPATH": ROOT})
    while pool.core.count(SlotState.LIVE) < actors:
        pool.poll()
        time.sleep(0.05)
    return pool


@contextmanager
def joined(spec: FakeSpec, actors: int) -> Iterator[ServicePool]:
    """A service whose actors are all live, seen from one owner; it ends with the block."""
    service = start_service(spec, PoolOptions(actors=actors), "bench", env={"PYTHONPATH": ROOT})
    while ray.get(service.status.remote())["live"] < actors:
        time.sleep(0.05)
    try:
        with ServicePool("bench/render", spec) as pool:
            yield pool
    finally:
        ray.kill(service)


def measure() -> dict[str, float]:
    """All figures; starts and stops a Ray of its own."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    requests = [make_request(POSES, seed) for seed in range(8)]
    ray.init("local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        with (
            LocalPool(FakeSpec().build) as local,
            start(FakeSpec(), actors=2) as remote,
            joined(FakeSpec(), actors=2) as shared,
        ):
            run(remote, requests, 10)
            run(shared, requests, 10)
            walls = [[run(pool, requests, BATCHES) for pool in (local, remote, shared)] for _ in range(ROUNDS)]
        with start(FakeSpec(seconds=2 * STEP_S), actors=3) as remote:
            overlapped = run(remote, requests, BATCHES, STEP_S)
    finally:
        ray.shutdown()
    local_ms, ray_ms, service_ms = (1e3 * median(part) / BATCHES for part in zip(*walls, strict=True))
    return {
        "local_ms_per_batch": local_ms,
        "ray_ms_per_batch": ray_ms,
        "overhead_ms": ray_ms - local_ms,
        "overhead_goal_ms": 5.0,
        "service_ms_per_batch": service_ms,
        "service_overhead_ms": service_ms - ray_ms,
        "service_overhead_goal_ms": 2.0,
        "overlap_ratio": overlapped / (BATCHES * STEP_S),
        "overlap_goal": 1.25,
    }


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
