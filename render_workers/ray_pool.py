"""A pool of Ray actors that render depth: transport, placement and error types; `PoolCore` decides (SYSTEMS 2.2-2.5).

Lives in the process that calls it, the trainer actor or a driver, and does everything in the caller's thread.
"""

import logging
import os
import re
import socket
import time
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import psutil
import ray
from ray import exceptions

from render_workers.base import RenderAnswer, RenderRequest
from render_workers.pool import CorePool, Worker, prepare
from render_workers.pool_options import PoolFailure, PoolOptions, ResourceError
from render_workers.pool_requests import Piece
from render_workers.pool_slots import Command, Dispatch, Kill, Probe, SlotState, Spawn

logger = logging.getLogger(__name__)
CANNOT_RECOVER = (exceptions.RuntimeEnvSetupError, exceptions.ActorUnschedulableError, exceptions.AuthenticationError)
WORKER_GONE = (
    exceptions.RayActorError,
    exceptions.WorkerCrashedError,
    exceptions.NodeDiedError,
    exceptions.LocalRayletDiedError,
    exceptions.OutOfMemoryError,
)


@runtime_checkable
class WorkerSpec(Protocol):
    """Anything picklable that builds a worker, there where the worker is to run."""

    def build(self) -> Worker: ...


class _RenderActor:
    """The process of one worker. Its constructor does nothing, so that an actor which has a place but is still loading
    can be told from one that has none, and an error while loading arrives with its own traceback.
    """

    def where(self) -> dict[str, Any]:
        """Answers as soon as the process runs."""
        return {"pid": os.getpid(), "node": socket.gethostname(), "gpus": os.environ.get("CUDA_VISIBLE_DEVICES", "")}

    def ready(self, spec: WorkerSpec) -> None:
        self._worker = prepare(spec.build())

    def heartbeat(self) -> int:
        """Resident memory, bytes."""
        return psutil.Process().memory_info().rss

    def depth(
        self, arrays: dict[str, np.ndarray], start: int, stop: int
    ) -> tuple[np.ndarray, np.ndarray, dict[str, float], float, int]:
        """Depth, valid, stats of rows [start, stop); seconds taken; resident memory in bytes."""
        began = time.perf_counter()
        rows = {name: value[start:stop] for name, value in arrays.items()}
        answer = self._worker.depth(RenderRequest.from_arrays(rows))
        return answer.depth, answer.valid, answer.stats, time.perf_counter() - began, self.heartbeat()


@dataclass
class _Actor:
    """What is known of an actor, for messages. place: nothing until its process runs."""

    handle: Any
    place: dict[str, Any] | None = None
    rss: int = 0

    def __str__(self) -> str:
        if self.place is None:
            return "(no process yet)"
        gpus = f", GPU {self.place['gpus']}" if self.place["gpus"] else ""
        return f"(pid {self.place['pid']} on {self.place['node']}{gpus}, {self.rss / 2**20:.0f} MiB at its last answer)"


@dataclass(frozen=True)
class _Call:
    """A call that has not returned. kind: where | ready | probe | depth."""

    kind: str
    slot: int
    piece: Piece | None = None


class RayPool(CorePool[ray.ObjectRef]):
    """Depth from Ray actors. Ray must be initialised; actors start at once and in the background.

    label_selector: nodes that may hold the actors, as for `ray.remote(label_selector=...)`. env: environment variables
    of the workers, besides the ones that keep a worker to its own cores and GPU.
    """

    def __init__(
        self,
        spec: WorkerSpec,
        options: PoolOptions | None = None,
        label_selector: dict[str, str] | None = None,
        env: dict[str, str] | None = None,
    ) -> None:
        super().__init__(options or PoolOptions())
        if not ray.is_initialized():
            raise PoolFailure("RayPool needs a Ray cluster: call ray.init() first, or set pool=local to do without Ray")
        self._actor_class = ray.remote(_RenderActor).options(**_actor_options(self.options, label_selector, env))
        self._spec = ray.put(spec)
        self._actors: dict[int, _Actor] = {}
        self._calls: dict[ray.ObjectRef, _Call] = {}
        self._short_since = time.monotonic()
        self._command()

    def _pack(self, request: RenderRequest) -> ray.ObjectRef:
        return ray.put(request.to_arrays())

    def _execute(self, command: Command) -> None:
        if isinstance(command, Spawn):
            actor = self._actors[command.slot] = _Actor(self._actor_class.remote())
            self._calls[actor.handle.where.remote()] = _Call("where", command.slot)
            self._calls[actor.handle.ready.remote(self._spec)] = _Call("ready", command.slot)
        elif isinstance(command, Probe):
            self._calls[self._actors[command.slot].handle.heartbeat.remote()] = _Call("probe", command.slot)
        elif isinstance(command, Dispatch):
            piece = command.piece
            ref = self._actors[command.slot].handle.depth.remote(
                self._open[piece.request].payload, piece.start, piece.stop
            )
            self._calls[ref] = _Call("depth", command.slot, piece)
        elif isinstance(command, Kill):
            self._kill(command)

    def _kill(self, command: Kill) -> None:
        actor = self._actors.pop(command.slot)
        self._calls = {ref: call for ref, call in self._calls.items() if call.slot != command.slot}
        ray.kill(actor.handle, no_restart=True)
        if command.reason:
            logger.warning(
                "render actor %d %s went down %s; its poses are rendered by another one, nothing is lost\n"
                "  reason : %s\n  what to do: nothing, if it stays rare; else see the worker's log; where memory ran "
                "out: fewer actors a node or a smaller render.micro_batch",
                command.slot, actor,
                "idle" if command.request is None else f"on request {command.request}", command.reason.strip(),
            )  # fmt: skip

    def _collect(self, timeout: float) -> None:
        if timeout and self._calls:
            ray.wait(list(self._calls), num_returns=1, timeout=timeout)
        elif timeout:
            time.sleep(timeout)
        refs = list(self._calls)
        ready = ray.wait(refs, num_returns=len(refs), timeout=0)[0] if refs else []
        # What an actor answered before it died must count before its death does.
        failed: list[tuple[_Call, Exception]] = []
        for ref in ready:
            call = self._calls.pop(ref)
            try:
                value = ray.get(ref)
            except Exception as error:
                failed.append((call, error))
            else:
                self._returned(call, value)
        for call, error in failed:
            self._failed(call, error)
        if self.core.count(SlotState.LIVE) >= self.options.min_actors:
            self._short_since = time.monotonic()
        elif time.monotonic() - self._short_since > self.options.resource_patience_s:
            self._check_resources()

    def _returned(self, call: _Call, value: Any) -> None:  # noqa: ANN401 - each kind of call has its own
        actor = self._actors[call.slot]
        if call.kind == "where":
            actor.place = value
        elif call.piece is None:
            self.core.ready(call.slot, time.monotonic())
        else:
            depth, valid, stats, seconds, actor.rss = value
            self._take_answer(call.slot, call.piece, RenderAnswer(depth, valid, stats), seconds)

    def _failed(self, call: _Call, error: Exception) -> None:
        """Tell the core what kind of failure this is (SYSTEMS 2.3)."""
        now = time.monotonic()
        cause = error.cause if isinstance(error, exceptions.RayTaskError) else error
        if isinstance(cause, CANNOT_RECOVER):
            self.core.fail(PoolFailure(f"the render actors cannot run on this cluster: {cause}\nwhat to do: see above"))
        elif isinstance(cause, exceptions.ActorUnavailableError):
            self.core.unavailable(call.slot, now, call.piece)
        elif isinstance(cause, WORKER_GONE):
            self.core.died(call.slot, _death(cause), preempted=getattr(cause, "preempted", False))
        elif call.piece is None:
            self.core.start_failed(call.slot, _text(error))
        elif isinstance(error, exceptions.RayTaskError) and not isinstance(cause, exceptions.RayError):
            self.core.app_error(call.slot, call.piece, _text(error), now)
        else:
            self.core.infra_error(call.slot, call.piece, _text(error), now)

    def _check_resources(self) -> None:
        """Fail when too few actors have found a place and the cluster has none to give."""
        placed = sum(actor.place is not None for actor in self._actors.values())
        ask = {"CPU": self.options.cpus_per_actor, "GPU": self.options.gpus_per_actor}
        ask = {name: amount for name, amount in ask.items() if amount > 0}
        total, free = ray.cluster_resources(), ray.available_resources()
        if placed >= self.options.min_actors or all(free.get(name, 0) >= amount for name, amount in ask.items()):
            self._short_since = time.monotonic()
            return
        asked = " and ".join(f"{amount:g} {name}" for name, amount in ask.items())
        found = " and ".join(f"{total.get(name, 0):g} {name} ({free.get(name, 0):g} free)" for name in ask)
        self.core.fail(
            ResourceError(
                f"cannot start: asked for {self.options.actors} render actors x {asked}, besides the trainer; after "
                f"{self.options.resource_patience_s:g} s the cluster has {found} and {placed} actors have a place\n"
                "  try: render.actors=1 | render.gpus_per_actor=0.5, or 0 to render on the CPU | more nodes "
                "(max_workers in cluster.yaml)\n  where nodes are still being started, raise render.resource_patience_s"
            )
        )

    def _stop(self) -> None:
        self._calls.clear()
        for actor in self._actors.values():
            if ray.is_initialized():
                ray.kill(actor.handle, no_restart=True)
        self._actors.clear()


def _text(error: BaseException) -> str:
    """The message of an error, without the colours that Ray puts into tracebacks."""
    return re.sub(r"\x1b\[[0-9;]*m", "", str(error))


def _death(error: BaseException) -> str:
    """Ray's message on a dead actor, down to what distinguishes it from others."""
    text = _text(error)
    return text[max(0, text.find("The actor is dead because")) :].partition(". Some common causes")[0]


def _actor_options(
    options: PoolOptions, label_selector: dict[str, str] | None, env: dict[str, str] | None
) -> dict[str, Any]:
    threads = str(max(1, int(options.cpus_per_actor)))
    env_vars = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    if options.gpus_per_actor == 0:
        # An actor that asked for no GPU would otherwise see all of them (SYSTEMS 2.5).
        env_vars["CUDA_VISIBLE_DEVICES"] = ""
    chosen: dict[str, Any] = {
        "num_cpus": options.cpus_per_actor,
        "num_gpus": options.gpus_per_actor,
        "max_restarts": 0,
        "max_task_retries": 0,
        "max_concurrency": 1,
        "scheduling_strategy": "SPREAD",
        "runtime_env": {"env_vars": env_vars | (env or {})},
    }
    return chosen | ({"label_selector": label_selector} if label_selector else {})
