"""What all render pools share (futures, back-pressure, putting answers together), and the pool inside one process."""

import logging
import threading
import time
import traceback
from abc import abstractmethod
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar, runtime_checkable

import numpy as np

from render_workers.base import RenderAnswer, RenderInterruptedError, RenderPool, RenderRequest, check_interrupt
from render_workers.pool_core import PoolCore
from render_workers.pool_options import PoolFailure, PoolOptions
from render_workers.pool_outage import SAY_AFTER_S, Outage, OutageLog
from render_workers.pool_requests import Piece, Resolved
from render_workers.pool_slots import Command, Dispatch, Kill, SlotState, Spawn

logger = logging.getLogger(__name__)
Payload = TypeVar("Payload")
# Between two looks at the clock while waiting: watchdogs, probes and timeouts are checked this often.
TICK_S = 0.2


@runtime_checkable
class Worker(Protocol):
    """Renders depth. A method `ready()`, where there is one, does the slow preparation (kernels, weights) that no
    request should wait for.
    """

    def depth(self, request: RenderRequest) -> RenderAnswer:
        """Render the request's bodies and return the depth at their joints."""
        ...


@runtime_checkable
class Interruptible(Protocol):
    """A worker that looks, between the portions of a request, whether it is to give up (`RenderPool.interrupt`)."""

    interrupt: threading.Event | None


def prepare(worker: Worker) -> Worker:
    """The worker, ready to answer."""
    ready = getattr(worker, "ready", None)
    if ready is not None:
        ready()
    return worker


class PoolFuture(Future[RenderAnswer]):
    """A future without a thread behind it: waiting for it drives the pool. It cannot be cancelled."""

    def __init__(self, pool: "CorePool") -> None:
        super().__init__()
        self._pool = pool
        self.set_running_or_notify_cancel()

    def result(self, timeout: float | None = None) -> RenderAnswer:
        """Drive the pool until the answer is there, for at most `timeout` seconds, and return it."""
        self._pool.drive(self, timeout)
        return super().result(0)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Drive the pool until the request is settled, for at most `timeout` seconds, and return its error or None."""
        self._pool.drive(self, timeout)
        return super().exception(0)


@dataclass
class _Open(Generic[Payload]):
    """A request on its way: what the workers are sent, and the shape of its answer."""

    future: PoolFuture
    payload: Payload
    shape: tuple[int, ...]


class CorePool(RenderPool, Generic[Payload]):
    """A shell around `PoolCore`: everything happens in the caller's thread, inside `submit`, `result` and `poll`."""

    def __init__(self, options: PoolOptions) -> None:
        self.options = options
        self.core = PoolCore(options)
        self.ledger = self.core.book.ledger
        self._open: dict[int, _Open[Payload]] = {}
        self._closed = False
        self._outages = OutageLog()

    @abstractmethod
    def _pack(self, request: RenderRequest) -> Payload:
        """What is kept of a request until it is answered."""

    @abstractmethod
    def _collect(self, timeout: float) -> None:
        """Tell the core what has happened; wait for something to happen, but no longer than `timeout` seconds."""

    @abstractmethod
    def _execute(self, command: Command) -> None:
        """Carry out a command of the core."""

    @abstractmethod
    def _stop(self) -> None:
        """Stop all workers."""

    def submit(self, request: RenderRequest) -> PoolFuture:
        """Queue a request; works off others while the backlog is full. Raises PoolFailure once the pool has failed."""
        if self._closed:
            raise PoolFailure("the render pool is closed; submit before close()")
        future = PoolFuture(self)
        shape = request.answer_shape
        if shape[0] == 0:
            future.set_result(RenderAnswer(np.zeros(shape, np.float32), np.zeros(0, bool)))
            return future
        self._pump(0.0)
        while self.core.backlog_full:
            self._pump(TICK_S)
        self._open[self.core.submit(shape[0])] = _Open(future, self._pack(request), shape)
        self._command()
        return future

    def poll(self) -> None:
        """Take in answers and hand out work, without waiting."""
        self._pump(0.0)

    def drive(self, future: PoolFuture, timeout: float | None) -> None:
        """Run the pool until the future is resolved. Raises TimeoutError of concurrent.futures."""
        end = None if timeout is None else time.monotonic() + timeout
        while not future.done():
            left = TICK_S if end is None else end - time.monotonic()
            if left <= 0:
                raise FutureTimeoutError(f"no answer within {timeout} s; the pool: {self.status()}")
            self._pump(min(TICK_S, left))

    def status(self) -> dict[str, float]:
        """Workers asked for, aimed at, and by state; workers lost; requests waiting and running; poses tried again,
        duplicated and quarantined; seconds of a worker on a piece; portions that GPU memory forced on the workers.

        short_s: seconds for which fewer than `min_actors` workers have been live, 0 while there are enough.
        micro_batch: the smallest that a worker fell back to, 0 before the first answer.
        """
        core, figures = self.core, self.core.figures
        return {
            "actors": self.options.actors,
            "target": core.target,
            "live": core.count(SlotState.LIVE),
            "starting": core.count(SlotState.PENDING),
            "suspect": core.count(SlotState.SUSPECT),
            "draining": core.count(SlotState.DRAINING),
            "deaths": figures.deaths,
            "preempted": figures.preempted,
            "host_ooms": figures.host_ooms.total(),
            "backlog": len(core.book.queue),
            "in_flight": core.in_flight,
            "retried": self.ledger.retried,
            "duplicates": self.ledger.duplicates,
            "quarantined": self.ledger.quarantined,
            "short_s": core.short_s(time.monotonic()),
            "latency_p50_s": figures.latency_s(0.5),
            "latency_p95_s": figures.latency_s(0.95),
            "micro_batch": min((s.micro_batch for s in core.slots.values() if s.micro_batch), default=0.0),
            "halvings": figures.halvings,
        }

    def last_error(self) -> str:
        """That the pool has too few workers, while that lasts; else the newest trouble, be it mended or not: why a
        worker died, what one raised; empty if there was none.
        """
        outage = self._outage()
        lasts = self.core.begun and outage.seconds >= SAY_AFTER_S
        return outage.text(self.options) if lasts else self.core.figures.last_error

    def _outage(self) -> Outage:
        """The pool's lack of workers as of now. seconds: 0 where it has enough."""
        live, starting = self.core.count(SlotState.LIVE), self.core.count(SlotState.PENDING)
        return Outage(self.core.short_s(time.monotonic()), live, starting)

    def _log_outage(self) -> None:
        seconds = self.core.short_s(time.monotonic())
        if self.core.begun and self._outages.began(seconds):
            logger.warning("%s", self._outage().text(self.options))
        if lasted := self._outages.ended(seconds):
            live = self.core.count(SlotState.LIVE)
            logger.warning("%d render actors are live again, after %.0f s with too few; the run goes on", live, lasted)

    def close(self) -> None:
        """Stop the workers; requests that are still open fail with PoolFailure."""
        if not self._closed:
            self._closed = True
            self._stop()
            self._abandon(PoolFailure(f"the render pool was closed with {len(self._open)} requests unanswered"))

    def _pump(self, timeout: float) -> None:
        check_interrupt(self.interrupt)
        if self.core.failure is not None:
            raise self.core.failure
        self._collect(timeout)
        self._command()
        self._log_outage()

    def _command(self) -> None:
        """Carry out commands until there are none left; if the pool has failed, so have its open requests."""
        try:
            while commands := self.core.tick(time.monotonic()):
                for command in commands:
                    if isinstance(command, Resolved):
                        self._resolve(command)
                    else:
                        self._execute(command)
                # Only a worker that starts or ends may have the core ask for more at once.
                if all([isinstance(command, Resolved | Dispatch) for command in commands]):
                    return
        except PoolFailure as failure:
            self._abandon(failure)
            raise

    def _resolve(self, resolved: Resolved) -> None:
        request = self._open.pop(resolved.request)
        for pose in resolved.quarantined:
            logger.warning(
                "quarantined pose %d of request %d after %d tries: %s",
                pose.row, resolved.request, pose.tries, pose.error.strip().rpartition("\n")[2],
            )  # fmt: skip
        request.future.set_result(join_answers(resolved, request.shape))

    def _abandon(self, failure: PoolFailure) -> None:
        for request in self._open.values():
            request.future.set_exception(failure)
        self._open.clear()

    def _take_answer(self, slot: int, piece: Piece, answer: RenderAnswer, seconds: float) -> None:
        """Check an answer and pass it to the core; one of the wrong shape is an error of the worker."""
        now = time.monotonic()
        request = self._open.get(piece.request)
        if request is not None and answer.depth.shape != (expected := (len(piece), *request.shape[1:])):
            self.core.app_error(slot, piece, f"the worker answered {answer.depth.shape}, expected {expected}", now)
            return
        invalid: tuple[int, ...] = ()
        if not (answer.valid.all() and np.isfinite(answer.depth).all()):
            fine = answer.valid & np.isfinite(answer.depth).all(axis=tuple(range(1, answer.depth.ndim)))
            invalid = tuple(int(row) + piece.start for row in np.flatnonzero(~fine))
            answer = replace(answer, valid=fine)
        self.core.done(slot, piece, answer, now, seconds, invalid)


def join_answers(resolved: Resolved, shape: tuple[int, ...]) -> RenderAnswer:
    """Join the answers of a request's pieces.

    Args:
        resolved: the pieces' answers and the quarantined rows.
        shape: of the whole request's depth.

    Returns:
        The answer of the request. Quarantined rows are NaN, and their features zero; numbers in `stats` are sums.
    """
    depth, valid = np.full(shape, np.nan, np.float32), np.zeros(shape[0], bool)
    stats: dict[str, float] = {}
    for piece, answer in resolved.answers:
        rows = slice(piece.start, piece.stop)
        depth[rows] = np.where(answer.valid.reshape(-1, *[1] * (len(shape) - 1)), answer.depth, np.nan)
        valid[rows] = answer.valid
        for name, value in answer.stats.items():
            stats[name] = stats.get(name, 0.0) + value
    return RenderAnswer(depth, valid, stats, _join_features(resolved, shape[0]))


def _join_features(resolved: Resolved, rows: int) -> np.ndarray | None:
    read = [(piece, answer.features, answer.valid) for piece, answer in resolved.answers if answer.features is not None]
    if not read:
        return None
    features = np.zeros((rows, *read[0][1].shape[1:]), read[0][1].dtype)
    for piece, part, valid in read:
        features[piece.start : piece.stop][valid] = part[valid]
    return features


class LocalPool(CorePool[RenderRequest]):
    """The same pool in this process: workers take turns, and work only while somebody waits for it.

    Args:
        worker_factory: builds a worker. One worker is enough unless the exchange between workers is to be tested.
    """

    def __init__(self, worker_factory: Callable[[], Worker], options: PoolOptions | None = None) -> None:
        # A worker that hangs hangs this process too, and the turn of another is no silence: there is no watchdog.
        super().__init__(replace(options or PoolOptions(actors=1), watchdog_s=float("inf")))
        self._factory = worker_factory
        self._workers: dict[int, Worker] = {}
        self._tasks: deque[Dispatch] = deque()

    def _pack(self, request: RenderRequest) -> RenderRequest:
        return request

    def _execute(self, command: Command) -> None:
        if isinstance(command, Spawn):
            try:
                worker = prepare(self._factory())
            except Exception:
                self.core.start_failed(command.slot, traceback.format_exc())
            else:
                self._workers[command.slot] = worker
                self.core.ready(command.slot, time.monotonic())
        elif isinstance(command, Kill):
            self._workers.pop(command.slot, None)
        elif isinstance(command, Dispatch):
            self._tasks.append(command)

    def _collect(self, timeout: float) -> None:
        if timeout == 0 or not self._tasks:
            return
        task = self._tasks.popleft()
        slot, piece = task.slot, task.piece
        worker, start = self._workers[slot], time.monotonic()
        if isinstance(worker, Interruptible):
            worker.interrupt = self.interrupt
        try:
            answer = worker.depth(self._open[piece.request].payload[piece.start : piece.stop])
        except RenderInterruptedError:
            self._tasks.appendleft(task)
            raise
        except Exception:
            self.core.app_error(slot, piece, traceback.format_exc(), time.monotonic())
        else:
            self._take_answer(slot, piece, answer, time.monotonic() - start)

    def _stop(self) -> None:
        self._workers.clear()
        self._tasks.clear()
