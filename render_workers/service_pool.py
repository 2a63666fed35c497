"""The run's side of a render service: a pool whose only worker is the service that it shares with other runs."""

import logging
import os
import time
import uuid
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Protocol, runtime_checkable

import ray
from ray import exceptions

from dg.settings.plugins import OptionError
from render_workers.base import RenderRequest
from render_workers.pool import CorePool
from render_workers.pool_options import PoolFailure, PoolOptions, ResourceError
from render_workers.pool_requests import Quarantined, RequestBook, Resolved
from render_workers.pool_slots import Command, Dispatch, Kill, Spawn
from render_workers.ray_calls import cause_of, completed, message_of
from render_workers.ray_pool import WorkerSpec
from render_workers.render_service import Reply, Terms

logger = logging.getLogger(__name__)
JOINED_WITHIN_S = 120.0
RETRY_S = 0.5
UNREACHABLE_S = 60.0
GO_ON = "what to do: give the sweep's command again, or this run's with resume=auto and without render.service"
# Figures of the service that a run shows as those of its pool; all others are the run's own.
SHARED_FIGURES = (
    "actors", "target", "live", "starting", "suspect", "draining", "deaths", "preempted", "host_ooms", "micro_batch",
    "halvings", "owners", "short_s",
)  # fmt: skip


@runtime_checkable
class Digested(Protocol):
    """A spec that knows when another one draws the same."""

    def digest(self) -> str:
        """Return a text that is equal for two specs whose workers render the same depth."""
        ...


@dataclass(frozen=True)
class _Call:
    """A request that has not come back."""

    command: Dispatch
    sent: float


class _OwnBook(RequestBook):
    """Says why poses were quarantined in the words of the worker that tried, not of the service that reports it."""

    def __init__(self, options: PoolOptions) -> None:
        super().__init__(options)
        self.reasons: dict[int, Quarantined] = {}

    def _quarantine(self, request: Resolved, pose: Quarantined) -> None:
        super()._quarantine(request, self.reasons.get(pose.row, pose))


class ServicePool(CorePool[ray.ObjectRef]):
    """Depth from a render service. Ray must be initialised, in any namespace.

    Args:
        service: NAMESPACE/NAME.
        spec: what this run's workers would be built from; the service must draw the same.
        options: `max_quarantine` and `epoch_poses` are this run's own, the rest is the service's.
        label: name of this run.

    Raises:
        ResourceError: there is no such service.
        OptionError: the service draws otherwise.
    """

    def __init__(self, service: str, spec: WorkerSpec, options: PoolOptions | None = None, label: str = "run") -> None:
        given = options or PoolOptions()
        # One worker that nobody watches from here, and that is asked again, not replaced, when it cannot be reached.
        one = PoolOptions(
            actors=1,
            max_backlog=1,
            watchdog_s=float("inf"),
            start_timeout_s=float("inf"),
            max_quarantine=given.max_quarantine,
            epoch_poses=given.epoch_poses,
        )
        super().__init__(one)
        self.core.book = _OwnBook(one)
        self.ledger = self.core.book.ledger
        self.service, self.owner = service, f"{label}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._calls: dict[ray.ObjectRef, _Call] = {}
        self._again: list[tuple[float, Dispatch]] = []
        self._silent_since: float | None = None
        self._shared: dict[str, float] = {}
        self._trouble = ""
        self._actor = _find(service)
        try:
            terms: Terms = ray.get(self._join(), timeout=JOINED_WITHIN_S)
        except Exception as error:
            raise _failure(service, error) from None
        self._learn(terms.status)
        try:
            _check_spec(service, spec, terms.spec)
        except OptionError:
            self.close()
            raise
        self._command()

    def status(self) -> dict[str, float]:
        """As of any pool: workers, and `owners`, are those of the service when it last answered."""
        return super().status() | {name: self._shared[name] for name in SHARED_FIGURES if name in self._shared}

    def last_error(self) -> str:
        """The newest trouble of the connection, else of the service's workers, whoever rendered."""
        return super().last_error() or self._trouble

    def _join(self) -> ray.ObjectRef:
        """Become an owner, or become one again. Does not wait."""
        self._joined = time.monotonic()
        self._lease = self._actor.attend.remote(self.owner)
        return self._actor.join.remote(self.owner, [self._lease])

    def _learn(self, status: dict[str, float]) -> None:
        self._shared = status
        self.core.options = replace(self.core.options, per_actor=int(status["credits"]))

    def _pack(self, request: RenderRequest) -> ray.ObjectRef:
        return ray.put(request.pack())

    def _execute(self, command: Command) -> None:
        if isinstance(command, Spawn):
            self.core.ready(command.slot, time.monotonic())
        elif isinstance(command, Dispatch):
            self._send(command)
        elif isinstance(command, Kill):
            raise AssertionError(f"the service is not given up: {command}")

    def _send(self, command: Dispatch) -> None:
        number = command.piece.request
        request = self._open[number]
        ref = self._actor.render.remote(self.owner, number, [request.payload], request.shape)
        self._calls[ref] = _Call(command, time.monotonic())

    def _collect(self, timeout: float) -> None:
        now = time.monotonic()
        for when, command in self._again:
            if when <= now:
                self._send(command)
        self._again = [(when, command) for when, command in self._again if when > now]
        returned, failed = completed(self._calls, timeout)
        for call, reply in returned:
            self._returned(call, reply)
        for call, error in failed:
            self._failed(call, error)

    def _returned(self, call: _Call, reply: Reply | None) -> None:
        if reply is None:
            self._rejoin(call)
            return
        self._silent_since = None
        self._learn(reply.status)
        self._trouble = reply.last_error
        self.ledger.retried += reply.retried
        if isinstance(self.core.book, _OwnBook):
            self.core.book.reasons = {pose.row: pose for pose in reply.quarantined}
        self._take_answer(call.command.slot, call.command.piece, reply.answer, time.monotonic() - call.sent)

    def _failed(self, call: _Call, error: Exception) -> None:
        if isinstance(cause_of(error), exceptions.ActorUnavailableError) and self._is_patient():
            self._again.append((time.monotonic() + RETRY_S, call.command))
        else:
            self.core.fail(_failure(self.service, error))

    def _rejoin(self, call: _Call) -> None:
        """The service does not know this run: Ray has started it anew, or it took the run for dead."""
        if not self._is_patient():
            self.core.fail(ResourceError(f"render service {self.service} does not take this run back\n{GO_ON}"))
            return
        if time.monotonic() - self._joined > RETRY_S:
            self._join()
        self._again.append((time.monotonic() + RETRY_S, call.command))

    def _is_patient(self) -> bool:
        """Whether the service may still come back."""
        self._silent_since = self._silent_since or time.monotonic()
        return time.monotonic() - self._silent_since < UNREACHABLE_S

    def _stop(self) -> None:
        self._calls.clear()
        self._again.clear()
        if ray.is_initialized():
            self._actor.leave.remote(self.owner)


def _find(service: str) -> Any:  # noqa: ANN401 - Ray's handle of an actor
    if not ray.is_initialized():
        raise PoolFailure("render.service needs a Ray cluster: call ray.init() first")
    namespace, _, name = service.rpartition("/")
    try:
        return ray.get_actor(name, namespace or None)
    except ValueError:
        raise ResourceError(
            f"expected a render service render.service={service} on the Ray cluster at "
            f"{ray.get_runtime_context().gcs_address}, found none: it ends with the sweep that started it\n"
            "what to do: give the sweep's command again; or leave render.service out, for a pool of this run's own"
        ) from None


def _check_spec(service: str, ours: WorkerSpec, theirs: WorkerSpec) -> None:
    if ours == theirs:
        return
    if isinstance(ours, Digested) and isinstance(theirs, Digested) and ours.digest() == theirs.digest():
        return
    names = [f.name for f in fields(ours)] if is_dataclass(ours) and type(ours) is type(theirs) else []
    differ = [f"{n}={getattr(ours, n)!r}, the service {getattr(theirs, n)!r}" for n in names
              if getattr(ours, n) != getattr(theirs, n)]  # fmt: skip
    raise OptionError(
        f"render service {service} draws otherwise than this run asks: {'; '.join(differ) or f'{ours}, not {theirs}'}\n"
        "what to do: leave render.service out of this run, for a pool of its own"
    )


def _failure(service: str, error: BaseException) -> PoolFailure:
    """In words why the service does not answer; a failure of its pool as it is."""
    cause = cause_of(error)
    if isinstance(cause, PoolFailure):
        return cause
    if isinstance(cause, exceptions.RayError):
        return ResourceError(f"render service {service} is gone: {message_of(cause)}\n{GO_ON}")
    return ResourceError(f"render service {service} failed: {message_of(error)}\n{GO_ON}")
