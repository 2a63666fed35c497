"""The process of a render worker in Ray, and how one is started.

Nothing here imports torch: a trainer starts its workers ahead of its own imports, which take as long as theirs.
"""

import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psutil
import ray

from render_workers.pool_options import PoolOptions

if TYPE_CHECKING:
    from render_workers.base import PackedRequest, RenderAnswer
    from render_workers.ray_pool import WorkerSpec


class _RenderActor:
    """The process of one worker. Its constructor does nothing, so that an actor which has a place but is still loading
    can be told from one that has none, and an error while loading arrives with its own traceback.
    """

    def where(self) -> dict[str, Any]:
        """Answers as soon as the process runs."""
        return {
            "pid": os.getpid(),
            "node": socket.gethostname(),
            "address": ray.util.get_node_ip_address(),
            "node_id": ray.get_runtime_context().get_node_id(),
            "gpus": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
        }

    def load(self, rasterizer: str) -> None:
        """Import what a worker needs; an error is left to `ready`."""
        from dg.settings.plugins import resolve
        from render_workers import RASTERIZERS, worker  # noqa: F401 - for whoever comes next

        resolve(RASTERIZERS, "rasterizer", rasterizer)

    def ready(self, spec: "WorkerSpec") -> None:
        from render_workers.pool import prepare

        self._worker = prepare(spec.build())

    def heartbeat(self) -> int:
        """Resident memory, bytes."""
        return psutil.Process().memory_info().rss

    def depth(self, request: "PackedRequest", start: int, stop: int) -> "tuple[RenderAnswer, float, int]":
        """The answer for rows [start, stop); seconds taken; resident memory in bytes."""
        began = time.perf_counter()
        answer = self._worker.depth(request[start:stop].unpack())
        return answer, time.perf_counter() - began, self.heartbeat()

    def depth_of_blocks(self, *blocks: bytes) -> "tuple[RenderAnswer, float, int]":
        """As `depth`, of a request that came in the call itself."""
        from render_workers.base import PackedRequest

        request = PackedRequest.of_blocks(blocks)
        return self.depth(request, 0, len(request.rows))


@dataclass(frozen=True)
class StartedActor:
    """An actor that has been asked for.

    Attributes:
        handle: Ray's handle of it; who drops it ends the actor.
        where: answer of `where`, once its process runs.
    """

    handle: Any
    where: "ray.ObjectRef"


def actor_class(
    options: PoolOptions, label_selector: Mapping[str, str] | None = None, env: Mapping[str, str] | None = None
) -> Any:  # noqa: ANN401 - Ray's classes of actors have no type
    """Return the class of a pool's actors, with what each asks of the cluster.

    Args:
        options: of the pool.
        label_selector: nodes that may hold the actors, as for `ray.remote(label_selector=...)`.
        env: environment variables of the workers, besides the ones that keep a worker to its own cores and GPU.
    """
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
        "runtime_env": {"env_vars": env_vars | dict(env or {})},
    }
    if label_selector:
        chosen["label_selector"] = dict(label_selector)
    return ray.remote(_RenderActor).options(**chosen)


def start(actors: Any) -> StartedActor:  # noqa: ANN401 - a class that `actor_class` made
    """Ask for an actor; it starts in the background.

    Args:
        actors: a class that `actor_class` made.
    """
    handle = actors.remote()
    return StartedActor(handle, handle.where.remote())


def start_ahead(options: PoolOptions, rasterizer: str) -> list[StartedActor]:
    """Ask for the actors of a pool that is still to be made; they load what every worker needs meanwhile.

    Args:
        options: of the pool.
        rasterizer: name of the one that they will draw with.
    """
    actors = actor_class(options)
    started = [start(actors) for _ in range(options.actors)]
    for actor in started:
        actor.handle.load.remote(rasterizer)
    return started
