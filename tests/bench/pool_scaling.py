"""How the render pool scales: `python -m tests.bench.pool_scaling` prints tables, or one JSON object with `--json`.

The pool's own core, queue, futures and ledger run in real time with workers that only take time (`simulated_pool`): 1
to 64 of them at 100 ms a batch, of even or uneven speed, dying at given rates. Efficiency: batches a second over what
the workers could do if they never waited. Recovery: from a death until all workers are live again, which includes the
second that a worker takes to start. Wait: share of its time that a trainer waits for depth, whose own step takes
nine tenths of what the workers need. Goals: 90 % efficiency up to 64 workers, no pose lost up to one death per 50
batches. `efficiency_of_live` leaves out what the dead would have done while their successors started.

`--ray 4 8` adds pools of so many real Ray actors that sleep, to see what processes and transport add on this machine.
"""

import argparse
import json
import logging
import os
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np

from render_workers.base import RenderAnswer, RenderPool, RenderRequest
from render_workers.pool_options import PoolOptions
from tests.bench.simulated_pool import Fleet, SimulatedPool
from tests.fakes import depth_of, make_request

WORKERS = (1, 2, 4, 8, 16, 32, 64)
SECONDS = 4.0
POSES = 64  # of a simulated batch: their number costs nothing here
BATCH_S = 0.1
DEATHS = (0.0, 1 / 500, 1 / 200, 1 / 50)
# How uneven the workers are, and batches ahead for each: in order, a slow one holds up what is behind its batch.
UNEVEN = ((1.0, 3), (2.0, 3), (2.0, 6))
GOAL = 0.9


@dataclass
class Steady:
    """The stretch in which the pool is full: from the first answers until nothing is left to submit."""

    seconds: float = 0.0
    batches: int = 0
    waited_s: float = 0.0


def consume(pool: RenderPool, requests: Iterator[RenderRequest], ahead: int, batches: int, step_s: float) -> Steady:
    """Batches consumed in order, `ahead` of them on their way.

    Raises AssertionError for an answer that is not the request's own.
    """
    steady, queue, began = Steady(), deque(), 0.0
    for number in range(batches + ahead):
        full = 2 * ahead <= number < batches
        if full and not began:
            began = time.perf_counter()
        if number < batches:
            request = next(requests)
            queue.append((request, pool.submit(request)))
        if number >= ahead:
            request, future = queue.popleft()
            start = time.perf_counter()
            answer = future.result()
            steady.waited_s += full * (time.perf_counter() - start)
            check(request, answer)
            time.sleep(step_s)  # a trainer's step: the pool is not driven meanwhile, as in a real one
        if full:
            steady.batches += 1
            steady.seconds = time.perf_counter() - began
    pool.ledger.check()
    return steady


def check(request: RenderRequest, answer: RenderAnswer) -> None:
    expected = request.keys.numpy().astype(np.float32)
    if not answer.valid.all() or not (answer.depth == expected[:, None]).all():
        raise AssertionError("an answer is not the one of its request")


def requests_for_ever() -> Iterator[RenderRequest]:
    made = [make_request(POSES, seed) for seed in range(16)]
    while True:
        yield from made


def measure(
    workers: int, unevenness: float = 1.0, deaths: float = 0.0, trainer: bool = False, look_ahead: int = 3
) -> dict[str, float]:
    """One pool for some seconds."""
    fleet = Fleet(BATCH_S, unevenness, deaths)
    options = PoolOptions(actors=workers, max_quarantine=0, start_timeout_s=30)
    pool = SimulatedPool(fleet, options)
    pool.wait_until_live()
    capacity = pool.capacity
    ahead = look_ahead * workers + 2
    batches = 3 * ahead + max(4 * workers, int(SECONDS * capacity))
    processor = time.process_time()
    steady = consume(pool, requests_for_ever(), ahead, batches, 0.9 / capacity if trainer else 0.0)
    processor = time.process_time() - processor
    status = pool.status()
    speed = steady.batches / steady.seconds
    # Deaths are spread over the whole run; what a worker would have done while its successor started is lost.
    lost = status["deaths"] * steady.batches / batches * fleet.start_s / workers * capacity
    result = {
        "workers": workers,
        "unevenness": unevenness,
        "look_ahead": ahead,
        "deaths_per_batch": deaths,
        "batches": steady.batches,
        "efficiency": speed / capacity,
        "efficiency_of_live": steady.batches / max(capacity * steady.seconds - lost, 1e-9),
        "pool_ms_per_batch": 1e3 * processor / batches,
        "deaths": status["deaths"],
        "poses_lost": pool.ledger.submitted - pool.ledger.done,
        "poses_retried": pool.ledger.retried,
        "recovery_s": max(pool.whole_again_s, default=0.0),
        "trainer_wait": steady.waited_s / steady.seconds,
    }
    pool.close()
    return result


def measure_ray(actors: int) -> dict[str, float]:
    """Real actors that sleep, with batches of 1,024 poses; starts and stops a Ray of its own."""
    import ray

    from tests.bench.pool import POSES as FULL
    from tests.bench.pool import start as start_pool
    from tests.fakes import FakeSpec

    os.environ.setdefault("RAY_worker_niceness", "0")
    ray.init("local", num_cpus=actors, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        with start_pool(FakeSpec(seconds=BATCH_S), actors) as pool:
            # Answers are made beforehand: the threads of a sum in torch, which wait awake, cost more than Ray.
            requests = [(request, depth_of(request)) for request in [make_request(FULL, seed) for seed in range(8)]]
            run_through(pool, requests, 10 * actors, actors)  # first uses: imports, connections
            batches = int(SECONDS * actors / BATCH_S)
            start, processor = time.perf_counter(), time.process_time()
            run_through(pool, requests, batches, actors)
            taken, processor = time.perf_counter() - start, time.process_time() - processor
            pool.ledger.check()
    finally:
        ray.shutdown()
    efficiency = batches * BATCH_S / actors / (taken - BATCH_S)
    driver_ms = 1e3 * processor / batches  # of the process that submits, its threads included
    return {"workers": actors, "batches": batches, "efficiency": efficiency, "driver_ms_per_batch": driver_ms}


def run_through(pool: RenderPool, requests: list[tuple[RenderRequest, np.ndarray]], batches: int, actors: int) -> None:
    """So many batches, in order, as far ahead as keeps the actors busy. Raises AssertionError for a wrong answer."""
    queue: deque[tuple[np.ndarray, Future[RenderAnswer]]] = deque()
    for number in range(batches):
        request, expected = requests[number % len(requests)]
        queue.append((expected, pool.submit(request)))
        if len(queue) > 3 * actors + 2:
            expected, future = queue.popleft()
            assert (future.result().depth == expected).all()
    for expected, future in queue:
        assert (future.result().depth == expected).all()


def measure_all(workers: tuple[int, ...] = WORKERS) -> dict[str, list[dict[str, float]]]:
    """The three tables."""
    most = workers[-1]
    return {
        "size": [measure(count, spread, look_ahead=ahead) for count in workers for spread, ahead in UNEVEN],
        "deaths": [measure(count, deaths=rate) for count in (8, most) for rate in DEATHS],
        "trainer": [measure(count, trainer=True) for count in workers if count <= 16],
    }


def table(rows: list[dict[str, float]], columns: tuple[str, ...]) -> str:
    shown = [[f"{row[name]:.4g}" for name in columns] for row in rows]
    widths = [max(len(c), *(len(row[i]) for row in shown)) for i, c in enumerate(columns)]
    lines = [list(columns), *shown]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--json", action="store_true")
    arguments.add_argument("--ray", type=int, nargs="*", default=[], metavar="N")
    given = arguments.parse_args()
    found = measure_all()
    if given.ray:
        found["ray"] = [measure_ray(count) for count in given.ray]
    if given.json:
        print(json.dumps(found, indent=1))
        return 0
    print(
        table(found["size"], ("workers", "unevenness", "look_ahead", "batches", "efficiency", "pool_ms_per_batch")),
        end="\n\n",
    )
    columns = (
        "workers",
        "deaths_per_batch",
        "deaths",
        "efficiency",
        "efficiency_of_live",
        "recovery_s",
        "poses_retried",
        "poses_lost",
    )
    print(table(found["deaths"], columns), end="\n\n")
    print(table(found["trainer"], ("workers", "trainer_wait")))
    if given.ray:
        print("\nreal Ray actors\n" + table(found["ray"], ("workers", "batches", "efficiency", "driver_ms_per_batch")))
    lost = sum(row["poses_lost"] for row in found["deaths"])
    low = min(row["efficiency"] for row in found["size"] if row["unevenness"] == 1)
    print(f"\nlowest efficiency of even workers without deaths {low:.3f} (goal {GOAL}); poses lost {lost:.0f} (goal 0)")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
