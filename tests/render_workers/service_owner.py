"""A run of its own process that renders through a service, and the workers that it renders with."""

import logging
import time
from dataclasses import dataclass

import ray

from render_workers.service_pool import ServicePool
from tests.fakes import FakeWorker, make_request


class PacedWorker(FakeWorker):
    """Takes its time: `pace_s` a pose."""

    def __init__(self, pace_s: float) -> None:
        super().__init__()
        self.pace_s = pace_s

    def depth(self, request):
        time.sleep(len(request) * self.pace_s)
        return super().depth(request)


@dataclass(frozen=True)
class PacedSpec:
    """Builds a PacedWorker."""

    pace_s: float = 0.001

    def build(self) -> PacedWorker:
        return PacedWorker(self.pace_s)


def main(address: str, service: str, requests: str, rows: str) -> None:
    """Joins, sends so many requests of so many poses, prints `sent`, and stays."""
    ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, namespace="owner")
    pool = ServicePool(service, PacedSpec())
    for number in range(int(requests)):
        pool.submit(make_request(int(rows), number))
    print("sent", flush=True)
    time.sleep(60)
