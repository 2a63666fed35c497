"""One pool of render actors for several runs: a named actor that embeds `RayPool` (SYSTEMS 2.2, 2.3, 3.3).

Payloads pass as nested references: the service hands them on to its workers and never touches the bytes, which stay
with the run that they belong to (its owner) and go when it does. A run that dies, by SIGKILL included, is noticed
through its lease, a reference that its process owns and that never gets a value: waiting for it fails when the process
is gone.

The service is not detached: it ends with the driver that started it, and its workers with it. Should its own process
die, Ray starts it anew; its clients (`render_workers.service_pool`) find that they are unknown, and join again.
"""

import asyncio
import time
from dataclasses import dataclass, field, replace
from typing import Any

import ray
from ray import exceptions

from render_workers.base import RenderAnswer
from render_workers.fair_queue import FairQueue
from render_workers.pool import TICK_S
from render_workers.pool_options import PoolFailure, PoolOptions, ResourceError
from render_workers.pool_requests import Quarantined
from render_workers.ray_pool import WorkerSpec
from render_workers.served_pool import ServedFuture, ServedPool

NAME = "render"
RESTARTS = 3
STARTED_WITHIN_S = 120.0
# Requests that each owner may have waiting, for each worker: as many as a pool of its own would hold.
OWN_BACKLOG = 4


@dataclass(frozen=True)
class Terms:
    """What an owner is told when it joins: what the workers draw, and the service's status."""

    spec: WorkerSpec
    status: dict[str, float]


@dataclass(frozen=True)
class Reply:
    """An answer, with what an owner's ledger needs beside it.

    Attributes:
        quarantined: rows without a value, and why.
        retried: poses that were tried again.
        status: status of the service.
        last_error: last error in the service.
    """

    answer: RenderAnswer
    quarantined: tuple[Quarantined, ...]
    retried: int
    status: dict[str, float]
    last_error: str


@dataclass
class _Request:
    """A request with the service. done: what its owner waits for. drawn: once the pool has it."""

    owner: str
    number: int
    payload: Any
    shape: tuple[int, ...]
    done: "asyncio.Future[Reply | None]"
    drawn: ServedFuture | None = None


@dataclass
class _Owner:
    """A run that renders here, and its requests by their numbers."""

    open: dict[int, _Request] = field(default_factory=dict)


class RenderService:
    """The actor of a render service.

    Every method is a coroutine on one event loop, which nothing blocks, so there are no locks.

    Args:
        spec: what its workers are built from.
        options: options of the pool; how many poses may be quarantined is the owners' own affair.
        env: environment variables of the workers.
    """

    def __init__(self, spec: WorkerSpec, options: PoolOptions, env: dict[str, str] | None = None) -> None:
        self.spec, self.env = spec, env
        self.options = replace(options, max_quarantine=float("inf"))
        self._pool: ServedPool | None = None
        self._owners: dict[str, _Owner] = {}
        self._left: dict[str, asyncio.Event] = {}
        self._queue: FairQueue[_Request] = FairQueue()
        self._failure: PoolFailure | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._wanted = False
        self._live_s = 0.0
        self._looked = time.monotonic()

    async def attend(self, owner: str) -> None:
        """Returns when the owner leaves. The reference to this call is the owner's lease."""
        await self._left.setdefault(owner, asyncio.Event()).wait()

    async def join(self, owner: str, lease: "list[ray.ObjectRef]") -> Terms:
        """From now on requests of this owner are taken, until its lease ends. Raises PoolFailure if the pool failed."""
        self._serving()
        self._owners.setdefault(owner, _Owner())
        self._spawn(self._watch(owner, lease[0]))
        return Terms(self.spec, self._status())

    async def render(
        self, owner: str, number: int, payload: "list[ray.ObjectRef]", shape: tuple[int, ...]
    ) -> "Reply | None":
        """Draw one request. The same number again, as after a broken connection, waits for the same answer.

        None for an owner that has not joined or has left; one that is here nevertheless joins again: the service may
        have been started anew, or have taken it for dead. Raises PoolFailure if the pool failed.
        """
        self._serving()
        known = self._owners.get(owner)
        if known is None:
            return None
        if number not in known.open:
            done = asyncio.get_running_loop().create_future()
            known.open[number] = _Request(owner, number, payload[0], shape, done)
            self._queue.push(owner, shape[0], known.open[number])
            self._pump_soon()
        return await known.open[number].done

    async def leave(self, owner: str) -> None:
        """Drop what the owner still has here."""
        self._drop(owner)

    async def status(self) -> dict[str, float]:
        """Of the pool, and: owners; waiting: requests that are queued here; credits: requests that each owner may have
        here at a time; done: poses; busy: the share of the live workers' time that was spent on answers.
        """
        self._serving()
        return self._status()

    async def close(self) -> None:
        """Stop the workers; open requests fail."""
        self._fail(PoolFailure("the render service was closed"))

    # -- inside ---------------------------------------------------------------------------------------------------

    def _serving(self) -> ServedPool:
        """The pool, started at the first call: only then is there an event loop. Raises its failure."""
        if self._failure is not None:
            raise self._failure
        if self._pool is None:
            loop = asyncio.get_running_loop()
            self._pool = ServedPool(
                self.spec, self.options, lambda: loop.call_soon_threadsafe(self._pump_soon), self.env
            )
            self._spawn(self._tick())
        return self._pool

    def _spawn(self, work: Any) -> None:  # noqa: ANN401 - a coroutine
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tick(self) -> None:
        """Watchdogs and probes need a look at the clock even when nothing happens."""
        while self._failure is None:
            await asyncio.sleep(TICK_S)
            self._pump()

    async def _watch(self, owner: str, lease: ray.ObjectRef) -> None:
        try:
            await lease
        except exceptions.RayError:
            pass  # its process is gone
        self._drop(owner)

    def _pump_soon(self) -> None:
        if not self._wanted:
            self._wanted = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        """Take in answers, and hand the pool a request whenever it has none waiting: so turns are decided late."""
        self._wanted = False
        if self._failure is not None or self._pool is None:
            return
        try:
            self._pool.poll()
            self._count_time()
            while len(self._queue) and self._pool.status()["backlog"] == 0:
                self._send(self._pool, self._queue.pop())
        except PoolFailure as failure:
            self._fail(failure)
        except Exception as error:
            self._fail(ResourceError(f"the render service failed: {error!r}\nwhat to do: see its log; start it anew"))
            raise

    def _send(self, pool: ServedPool, request: _Request) -> None:
        request.drawn = pool.submit_packed(request.payload, request.shape)
        request.drawn.add_done_callback(lambda _: self._answered(request))

    def _answered(self, request: _Request) -> None:
        drawn, owner = request.drawn, self._owners.get(request.owner)
        if owner is None or drawn is None or request.done.done():
            return
        error = drawn.exception()
        if drawn.abandoned:
            self._drop(request.owner)
        elif error is not None:
            request.done.set_exception(error)
        else:
            owner.open.pop(request.number)
            trouble = "" if self._pool is None else self._pool.last_error()
            reply = Reply(drawn.result(), drawn.quarantined, drawn.retried, self._status(), trouble)
            request.done.set_result(reply)

    def _drop(self, owner: str) -> None:
        left, gone = self._left.pop(owner, None), self._owners.pop(owner, None)
        self._queue.drop(owner)
        if left is not None:
            left.set()
        for request in () if gone is None else gone.open.values():
            if request.drawn is not None:
                request.drawn.abandoned = True
            if not request.done.done():
                request.done.set_result(None)

    def _fail(self, failure: PoolFailure) -> None:
        self._failure = self._failure or failure
        for owner in self._owners.values():
            for request in owner.open.values():
                if not request.done.done():
                    request.done.set_exception(self._failure)
        if self._pool is not None:
            self._pool.close()

    def _count_time(self) -> None:
        now = time.monotonic()
        if self._pool is not None:
            self._live_s += (now - self._looked) * self._pool.status()["live"]
        self._looked = now

    def _status(self) -> dict[str, float]:
        if self._pool is None:
            return {}
        pool = self._pool.status()
        workers = max(pool["live"] + pool["starting"], self.options.actors)
        own = {
            "credits": (OWN_BACKLOG + self.options.per_actor) * workers,
            "owners": len(self._owners),
            "waiting": len(self._queue),
            "done": self._pool.ledger.done,
            "quarantined": self._pool.ledger.quarantined - self._pool.abandoned,
            "busy": min(1.0, self._pool.busy_s / self._live_s) if self._live_s else 0.0,
        }
        return pool | own


def start_service(
    spec: WorkerSpec, options: PoolOptions, namespace: str, name: str = NAME, env: dict[str, str] | None = None
) -> Any:  # noqa: ANN401 - Ray's handle of the actor
    """Return the render service of a name, started if there is none; its workers start in the background.

    The service ends with the process that started it.

    Args:
        spec: builds a worker, where the worker is to run.
        options: options of the pool of workers.
        namespace: Ray namespace of the service.
        name: name of the service's actor.
        env: environment variables of service and workers.

    Returns:
        Ray's handle of the service's actor.

    Raises:
        PoolFailure: Ray is not running.
    """
    if not ray.is_initialized():
        raise PoolFailure("a render service needs a Ray cluster: call ray.init() first")
    # Without the first Ray gives an actor that asked for no GPU all of them; the second is about calls that, here,
    # never wait.
    own = {"CUDA_VISIBLE_DEVICES": "", "RAY_WARN_BLOCKING_GET_INSIDE_ASYNC": "0"}
    actor: Any = ray.remote(RenderService)
    service = actor.options(
        name=name,
        namespace=namespace,
        get_if_exists=True,
        num_cpus=0,
        max_restarts=RESTARTS,
        max_task_retries=0,
        runtime_env={"env_vars": own | (env or {})},
    ).remote(spec, options, env)
    ray.get(service.status.remote(), timeout=STARTED_WITHIN_S)
    return service
