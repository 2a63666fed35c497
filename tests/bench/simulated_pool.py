"""The render pool with workers that only take time: the same core, queue, ledger and clock, no processes.

A worker is an entry in a heap of what ends when, so that 64 of them cost this thread nothing but the pool's own work.
"""

import heapq
import itertools
import random
import time
from collections import deque
from dataclasses import dataclass, field

import numpy as np

from render_workers.base import RenderAnswer, RenderRequest
from render_workers.pool import CorePool
from render_workers.pool_options import PoolOptions
from render_workers.pool_requests import Piece
from render_workers.pool_slots import Command, Dispatch, Kill, SlotState, Spawn


@dataclass(frozen=True)
class Fleet:
    """What the workers are like. batch_s: of an average worker on a request. unevenness: speeds are drawn from
    [1 / unevenness, unevenness], evenly in their logarithm. deaths_per_batch: how often a worker dies over a request.
    start_s: until a replacement is ready.
    """

    batch_s: float = 0.1
    unevenness: float = 1.0
    deaths_per_batch: float = 0.0
    start_s: float = 1.0
    seed: int = 0


@dataclass
class _Worker:
    speed: float
    tasks: deque[Piece] = field(default_factory=deque)


class SimulatedPool(CorePool[RenderRequest]):
    """Answers are the requests' own keys, so that a lost, doubled or exchanged one is seen."""

    def __init__(self, fleet: Fleet, options: PoolOptions) -> None:
        super().__init__(options)
        self.fleet = fleet
        self._draw = random.Random(fleet.seed)
        self._workers: dict[int, _Worker] = {}
        self._events: list[tuple[float, int, str, int, Piece | None]] = []
        self._number = itertools.count()
        self.whole_again_s: list[float] = []
        self._short_from: float | None = None

    def wait_until_live(self) -> None:
        """Until every worker is ready."""
        self._command()
        while self.core.count(SlotState.LIVE) < self.options.actors:
            self._pump(0.01)

    @property
    def capacity(self) -> float:
        """Batches per second of all workers that are there."""
        return sum(worker.speed for worker in self._workers.values()) / self.fleet.batch_s

    def _pack(self, request: RenderRequest) -> RenderRequest:
        return request

    def _execute(self, command: Command) -> None:
        if isinstance(command, Spawn):
            self._at(self.fleet.start_s, "ready", command.slot)
        elif isinstance(command, Kill):
            self._workers.pop(command.slot, None)
        elif isinstance(command, Dispatch):
            worker = self._workers[command.slot]
            worker.tasks.append(command.piece)
            if len(worker.tasks) == 1:
                self._begin(command.slot, worker)

    def _collect(self, timeout: float) -> None:
        if timeout:
            until = min(self._events[0][0], time.monotonic() + timeout) if self._events else time.monotonic() + timeout
            time.sleep(max(0.0, until - time.monotonic()))
        while self._events and self._events[0][0] <= time.monotonic():
            _, _, kind, slot, piece = heapq.heappop(self._events)
            self._happened(kind, slot, piece)
        self._watch_strength()

    def _stop(self) -> None:
        self._workers.clear()
        self._events.clear()

    def _at(self, delay_s: float, kind: str, slot: int, piece: Piece | None = None) -> None:
        heapq.heappush(self._events, (time.monotonic() + delay_s, next(self._number), kind, slot, piece))

    def _begin(self, slot: int, worker: _Worker) -> None:
        piece = worker.tasks[0]
        seconds = self.fleet.batch_s / worker.speed * len(piece) / self._rows(piece)
        if self._draw.random() < self.fleet.deaths_per_batch:
            self._at(seconds * self._draw.random(), "dies", slot)
        else:
            self._at(seconds, "answer", slot, piece)

    def _happened(self, kind: str, slot: int, piece: Piece | None) -> None:
        if kind == "ready":
            spread = self.fleet.unevenness
            # The fastest and the slowest are always there, whatever is drawn.
            share = slot / max(1, self.options.actors - 1) if slot < self.options.actors else self._draw.random()
            self._workers[slot] = _Worker(spread ** (2 * share - 1))
            self.core.ready(slot, time.monotonic())
            return
        worker = self._workers.get(slot)
        if worker is None:
            return
        if kind == "dies":
            self.core.died(slot, "simulated")
        elif piece is not None:
            worker.tasks.popleft()
            if worker.tasks:
                self._begin(slot, worker)
            self._answer(slot, piece, worker)

    def _answer(self, slot: int, piece: Piece, worker: _Worker) -> None:
        request = self._open.get(piece.request)
        seconds = self.fleet.batch_s / worker.speed
        keys = np.zeros(len(piece)) if request is None else request.payload.keys[piece.start : piece.stop].numpy()
        shape = (len(piece), 17) if request is None else (len(piece), *request.shape[1:])
        depth = np.broadcast_to(keys[:, None].astype(np.float32), shape).copy()
        self._take_answer(slot, piece, RenderAnswer(depth, np.ones(len(piece), bool)), seconds)

    def _rows(self, piece: Piece) -> int:
        request = self._open.get(piece.request)
        return len(piece) if request is None else request.shape[0]

    def _watch_strength(self) -> None:
        """Time from the first missing worker until all are live again."""
        now, live = time.monotonic(), self.core.count(SlotState.LIVE)
        if live < self.options.actors:
            self._short_from = self._short_from or now
        elif self._short_from is not None:
            self.whole_again_s.append(now - self._short_from)
            self._short_from = None
