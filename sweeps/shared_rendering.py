"""One Ray cluster and one render service for all trials of a sweep (SYSTEMS 2.2, 3.3)."""

import signal
import tempfile
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dg.settings.config import TrainConfig

if TYPE_CHECKING:
    from dg.cluster.session import RaySession

ANSWER_S = 10.0


class SharedRendering:
    """While it is open, trials that are given `args()` train on one cluster and have their poses drawn by one pool.

    The cluster and the service end with this process, however it ends. Entering raises what starting them raises:
    ResourceError, ConfigError, OptionError.

    Args:
        config: what the trials share; its `render` is the pool, its `address` the cluster to join: without one they get
            a cluster of the sweep's own, with room for all of them.
        concurrency: trials at a time. Does nothing where no trial needs depth, with `pool=local`, and where the user
            has named a service already.
    """

    def __init__(self, config: TrainConfig, concurrency: int) -> None:
        self.config, self.concurrency = config, concurrency
        self._session: RaySession | None = None
        self._service: Any = None
        self._args: dict[str, str] = {}

    def __enter__(self) -> "SharedRendering":
        config = self.config
        if config.draws and config.pool == "ray" and not config.render.service:
            try:
                with _sigterm_kept():
                    self._open()
            except BaseException:
                self.close()
                raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def args(self) -> dict[str, str]:
        """What each `dg train` needs besides its own arguments; nothing where nothing is shared."""
        return dict(self._args)

    def status(self) -> dict[str, float]:
        """Of the service (`RenderService.status`): live workers, owners, requests that wait, poses done, the busy share
        of the workers' time, ... Empty where nothing is shared, or where the service does not answer.
        """
        if self._service is None:
            return {}
        import ray
        from ray import exceptions

        try:
            return ray.get(self._service.status.remote(), timeout=ANSWER_S)
        except (exceptions.RayError, RuntimeError):  # as it restarts, or with the failure that the trials get
            return {}

    def close(self) -> None:
        """Stop service, workers and the cluster that it started. Idempotent."""
        service, self._service = self._service, None
        session, self._session = self._session, None
        self._args = {}
        if service is not None:
            import ray
            from ray import exceptions

            with suppress(exceptions.RayError, RuntimeError):
                ray.get(service.close.remote(), timeout=ANSWER_S)
            ray.kill(service, no_restart=True)
        if session is not None:
            session.close()

    def _open(self) -> None:
        import ray

        from dg.cluster.resources import pool_options, share_gpus
        from dg.cluster.session import open_session
        from dg.training.rendering import worker_spec
        from render_workers.render_service import NAME, start_service

        spec = worker_spec(self.config).pinned()
        # Room, and a share of the GPUs, for several trainers instead of one.
        render = self.config.render
        sized = replace(self.config, render=replace(render, actors=render.actors + self.concurrency - 1))
        self._session = open_session(sized, Path(self.config.out or tempfile.gettempdir()))
        gpus = share_gpus(sized, self._session.resources().get("GPU", 0.0))[1]
        namespace = f"dg-sweep-{uuid.uuid4().hex[:8]}"
        self._service = start_service(spec, pool_options(self.config, gpus), namespace)
        self._args = {
            "address": ray.get_runtime_context().gcs_address,
            "render.service": f"{namespace}/{NAME}",
            "render.gpus_per_actor": f"{gpus:g}",
        }


@contextmanager
def _sigterm_kept() -> Iterator[None]:
    """Meanwhile Ray may set its own handler, which would end the sweep without a word."""
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)
