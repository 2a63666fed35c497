"""A pool of Ray actors that render depth: transport, placement and error types; `PoolCore` decides (SYSTEMS 2.2-2.5).

Lives in the process that calls it, the trainer actor or a driver, and does everything in the caller's thread.
"""

import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import ray
from ray import exceptions

from render_workers import ray_nodes
from render_workers.base import PackedRequest, RenderRequest
from render_workers.pool import CorePool, Worker
from render_workers.pool_options import PoolFailure, PoolOptions, ResourceError
from render_workers.pool_outage import Outage
from render_workers.pool_requests import Piece
from render_workers.pool_sizing import ClusterView, Placed, Sizer, may_grow, room, shortage
from render_workers.pool_slots import Command, Dispatch, Kill, Probe, SlotState, Spawn
from render_workers.ray_actor import StartedActor, actor_class, start
from render_workers.ray_calls import cause_of, completed, message_of

logger = logging.getLogger(__name__)
# Between two looks at the cluster: nodes that joined, are being drained, or lack.
LOOK_EVERY_S = 2.0
# Ray sends an argument of up to 100 KiB within the call, and of all arguments of a call no more than 10 MiB.
INLINE_BLOCK = 99 * 1024
INLINE_MOST = 8 * 1024 * 1024
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

    def build(self) -> Worker:
        """Return a new worker; called in the worker's own process."""
        ...


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


class RayPool(CorePool[Any]):
    """Depth from Ray actors.

    Ray must be initialised; actors start at once and in the background. In a cluster that the run joined their number
    follows the nodes (`PoolOptions.max_actors`).

    Args:
        label_selector: nodes that may hold the actors, as for `ray.remote(label_selector=...)`.
        env: environment variables of the workers, besides the ones that keep a worker to its own cores and GPU.
        started: actors of this process that were started ahead (`start_ahead`) and are the pool's first.
    """

    def __init__(
        self,
        spec: WorkerSpec,
        options: PoolOptions | None = None,
        label_selector: dict[str, str] | None = None,
        env: dict[str, str] | None = None,
        started: Sequence[StartedActor] = (),
    ) -> None:
        super().__init__(options or PoolOptions())
        if not ray.is_initialized():
            raise PoolFailure("RayPool needs a Ray cluster: call ray.init() first, or set pool=local to do without Ray")
        self._actor_class = actor_class(self.options, label_selector, env)
        self._started = list(started)
        self._spec = ray.put(spec)
        self._actors: dict[int, _Actor] = {}
        self._calls: dict[ray.ObjectRef, _Call] = {}
        self._selector = label_selector
        self._sizer = Sizer(self.options, label_selector)
        self._short_since = self._looked = time.monotonic()
        self._begun = False
        self._hosts: dict[str, str] = {}
        self._present: set[str] = set()
        self._look()
        self._command()
        for left in self._started:
            ray.kill(left.handle, no_restart=True)
        self._started.clear()

    def _pack(self, request: RenderRequest) -> PackedRequest:
        return request.pack()

    def _ask(self, actor: Any, piece: Piece) -> ray.ObjectRef:  # noqa: ANN401 - Ray's handle
        """Have an actor draw a piece. It travels in the call itself: through the object store it would cost both hosts
        more, and Ray may ask a lost host for its copy for ten seconds while the worker waits.
        """
        packed = self._open[piece.request].payload[piece.start : piece.stop]
        if packed.rows.nbytes > INLINE_MOST:
            return actor.depth.remote(ray.put(packed), 0, len(piece))
        return actor.depth_of_blocks.remote(*packed.blocks(INLINE_BLOCK))

    def _execute(self, command: Command) -> None:
        if isinstance(command, Spawn):
            started = self._started.pop(0) if self._started else start(self._actor_class)
            actor = self._actors[command.slot] = _Actor(started.handle)
            self._calls[started.where] = _Call("where", command.slot)
            self._calls[actor.handle.ready.remote(self._spec)] = _Call("ready", command.slot)
        elif isinstance(command, Probe):
            self._calls[self._actors[command.slot].handle.heartbeat.remote()] = _Call("probe", command.slot)
        elif isinstance(command, Dispatch):
            piece = command.piece
            ref = self._ask(self._actors[command.slot].handle, piece)
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
        returned, failed = completed(self._calls, timeout)
        # What an actor answered before it died must count before its death does.
        for call, value in returned:
            self._returned(call, value)
        for call, error in failed:
            self._failed(call, error)
        if time.monotonic() - self._looked > LOOK_EVERY_S:
            self._look()
            self._looked = time.monotonic()

    def _returned(self, call: _Call, value: Any) -> None:  # noqa: ANN401 - each kind of call has its own
        actor = self._actors[call.slot]
        if call.kind == "where":
            actor.place = value
            self._hosts[value["address"]] = f"{value['node']} ({value['address']})"
            self.core.placed(call.slot, value["node_id"])
        elif call.piece is None:
            self.core.ready(call.slot, time.monotonic())
        else:
            answer, seconds, actor.rss = value
            self._take_answer(call.slot, call.piece, answer, seconds)

    def _failed(self, call: _Call, error: Exception) -> None:
        """Tell the core what kind of failure this is (SYSTEMS 2.3)."""
        now = time.monotonic()
        cause = cause_of(error)
        if isinstance(cause, CANNOT_RECOVER):
            self.core.fail(PoolFailure(f"the render actors cannot run on this cluster: {cause}\nwhat to do: see above"))
        elif isinstance(cause, exceptions.ActorUnavailableError):
            self.core.unavailable(call.slot, now, call.piece)
        elif isinstance(cause, WORKER_GONE):
            self.core.died(
                call.slot,
                _death(cause),
                preempted=getattr(cause, "preempted", False),
                out_of_memory=isinstance(cause, exceptions.OutOfMemoryError),
            )
        elif call.piece is None:
            self.core.start_failed(call.slot, message_of(error))
        elif isinstance(error, exceptions.RayTaskError) and not isinstance(cause, exceptions.RayError):
            self.core.app_error(call.slot, call.piece, message_of(error), now)
        else:
            self.core.infra_error(call.slot, call.piece, message_of(error), now)

    def _look(self) -> None:
        """Follow the cluster: leave nodes that are being taken away, and have as many actors as there is room for."""
        view = ray_nodes.look()
        self._present = {node.address for node in view.nodes} if view.exact else self._present
        going = {node.id for node in view.nodes if node.draining}
        for slot in [slot for slot in self.core.slots.values() if slot.node in going and not slot.leaving]:
            logger.warning("render actor %d %s leaves: its node is being taken away", slot.id, self._actors[slot.id])
            self.core.drain(slot.id)
        staying = [slot for slot in self.core.slots.values() if slot.state is not SlotState.DRAINING]
        placed = Placed(Counter(s.node for s in staying if s.node), sum(not slot.node for slot in staying))
        size, crowded = self._sizer.decide(view, placed, self.core.target)
        # A node out of reach is not lost yet, and what it holds is counted with what has taken its place.
        self.core.resize(min(size, self.core.target) if self.core.count(SlotState.SUSPECT) else size)
        if crowded:
            self.core.give_up(crowded)
        self._check_resources(view, placed)

    def _outage(self) -> Outage:
        held = sorted(self._hosts.items())
        live_slots = {slot.id for slot in self.core.slots.values() if slot.state is SlotState.LIVE}
        live = {actor.place["address"] for slot, actor in self._actors.items() if slot in live_slots and actor.place}
        gone = [name for address, name in held if address not in self._present]
        silent = [name for address, name in held if address in self._present - live]
        return replace(super()._outage(), gone=gone, silent=silent)

    def _check_resources(self, view: ClusterView, placed: Placed) -> None:
        """Fail when too few actors have found a place and the cluster has none to give."""
        now, options, nodes = time.monotonic(), self.options, view.lasting(self._selector)
        self._begun = self._begun or self.core.count(SlotState.LIVE) >= options.min_actors
        if room(nodes, view, options.ask, placed) >= options.min_actors:
            self._short_since = now
        # Once a run has begun nodes may come back; before that only an autoscaler brings any.
        patient = self._begun or may_grow(options, nodes, view)
        # The core gives up after `start_timeout_s` too, and knows less.
        patience_s = 0.95 * options.start_timeout_s if patient else options.resource_patience_s
        if now - self._short_since > patience_s:
            self.core.fail(
                ResourceError(
                    f"cannot {'go on' if self._begun else 'start'}: "
                    + shortage(options, nodes, view, placed, now - self._short_since)
                )
            )

    def _stop(self) -> None:
        self._calls.clear()
        for actor in self._actors.values():
            if ray.is_initialized():
                ray.kill(actor.handle, no_restart=True)
        self._actors.clear()


def _death(error: BaseException) -> str:
    """Ray's message on a dead actor, down to what distinguishes it from others."""
    text = message_of(error)
    because = [text.find(words) for words in ("The actor is dead because", "The actor died because")]
    return text[max(0, *because) :].partition(". Some common causes")[0]
