"""The pool inside a render service: a RayPool that never blocks, and whose requests may lose their owner."""

from collections.abc import Callable
from typing import Any

import numpy as np
import ray
from ray import exceptions

from render_workers.base import RenderAnswer
from render_workers.pool import PoolFuture, _Open
from render_workers.pool_options import PoolOptions
from render_workers.pool_requests import Piece, Quarantined, Resolved
from render_workers.pool_slots import Command
from render_workers.ray_calls import cause_of
from render_workers.ray_pool import RayPool, WorkerSpec, _Call


class ServedFuture(PoolFuture):
    """The answer to one request.

    Attributes:
        abandoned: whether nobody waits for it any more.
    """

    def __init__(self, pool: "ServedPool") -> None:
        super().__init__(pool)
        self.abandoned = False
        self.quarantined: tuple[Quarantined, ...] = ()
        self.retried = 0


class ServedPool(RayPool):
    """A RayPool for a caller that must not block: `wake` is called, from another thread, when `poll` has work to do.

    Attributes:
        busy_s: seconds that workers have spent on answers.
        abandoned: poses that were not drawn as their owner was gone.
    """

    def __init__(
        self, spec: WorkerSpec, options: PoolOptions, wake: Callable[[], object], env: dict[str, str] | None = None
    ) -> None:
        self._wake = wake
        self._watched: set[ray.ObjectRef] = set()
        self.busy_s = 0.0
        self.abandoned = 0
        super().__init__(spec, options, env=env)
        # A request lies in its owner's store: the only near copy may be on the very host that is silent.
        self.core.lends = False

    def submit_packed(self, payload: ray.ObjectRef, shape: tuple[int, ...]) -> ServedFuture:
        """Queue a request that is in the object store already; does not block.

        Args:
            payload: reference to the request in Ray's object store.
            shape: shape of its answer's depth.
        """
        future = ServedFuture(self)
        self._open[self.core.submit(shape[0])] = _Open(future, payload, shape)
        self._command()
        return future

    def _ask(self, actor: Any, piece: Piece) -> ray.ObjectRef:  # noqa: ANN401 - Ray's handle
        """The request is its owner's, and getting it here would block everybody's."""
        return actor.depth.remote(self._open[piece.request].payload, piece.start, piece.stop)

    def _execute(self, command: Command) -> None:
        super()._execute(command)
        for ref in self._calls.keys() - self._watched:
            ref.future().add_done_callback(lambda _: self._wake())
        self._watched = set(self._calls)

    def _resolve(self, resolved: Resolved) -> None:
        future = self._open[resolved.request].future
        if isinstance(future, ServedFuture):
            if future.abandoned:
                self.abandoned += len(resolved.quarantined)
                resolved.quarantined.clear()  # no fault of theirs to be logged
            future.quarantined = tuple(resolved.quarantined)
            future.retried = sum(len(p) * (p.app_tries + p.infra_tries) for p, _ in resolved.answers)
        super()._resolve(resolved)

    def _failed(self, call: _Call, error: Exception) -> None:
        """A payload that went with its owner is no fault of the worker's, nor is it worth another try."""
        request = None if call.piece is None else self._open.get(call.piece.request)
        cause = cause_of(error)
        if request is not None and call.piece is not None and isinstance(request.future, ServedFuture):
            request.future.abandoned |= isinstance(cause, exceptions.OwnerDiedError)
            if request.future.abandoned and isinstance(cause, exceptions.ObjectLostError):
                shape = (len(call.piece), *request.shape[1:])
                nothing = RenderAnswer(np.full(shape, np.nan, np.float32), np.zeros(shape[0], bool))
                self._take_answer(call.slot, call.piece, nothing, 0.0)
                return
        super()._failed(call, error)

    def _take_answer(self, slot: int, piece: Piece, answer: RenderAnswer, seconds: float) -> None:
        self.busy_s += seconds
        super()._take_answer(slot, piece, answer, seconds)
