"""How many cells of a grid run at once, and where: cores, memory and GPUs of this machine, or a Ray cluster's."""

import os
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

import psutil

from dg.cluster.resources import cores_of_run, share_gpus
from dg.settings.config import TrainConfig
from dg.settings.cores import cores_here

CELLS_PER_GPU = 4  # processes that share one GPU; parallel=N overrules it
# Memory a cell may take. Measured on the built-in data (peak, CPU): 0.7 GiB for method=erm inputs=xy, 1.0 GiB for
# method=poseaug inputs=xyd; the rest is for larger data.
CELL_BYTES = 2 << 30


@dataclass(frozen=True)
class Resources:
    """The resources of a machine or a cluster.

    Attributes:
        gpus: what CUDA_VISIBLE_DEVICES calls each of them.
    """

    cores: float
    memory: float = float("inf")
    gpus: tuple[str, ...] = ()


@dataclass(frozen=True)
class Places:
    """How many cells run at once, and where.

    Attributes:
        parallel: cells at once.
        why: the reason for that number, as text.
        environments: environment variables of the n-th cell among those that run at once.
    """

    parallel: int
    why: str
    environments: tuple[dict[str, str], ...] = ({},)

    def environment(self, place: int) -> dict[str, str]:
        """Return the environment variables of one place; places beyond the list start again at its beginning."""
        return self.environments[place % len(self.environments)]


def find_places(
    configs: Sequence[TrainConfig],
    asked: int,
    machine: "Callable[[bool], Resources] | None" = None,
    cluster: "Callable[[str], Resources] | None" = None,
) -> Places:
    """Decide how many runs go on at once, and with which environment variables.

    Args:
        configs: of the runs, which all have one pool and one address.
        asked: number of runs at once; 0 for as many as fit, at least 1.
        machine: called for the resources of this machine; `this_machine` if left out.
        cluster: called with an address for the resources of a Ray cluster; `ray_cluster` if left out.
    """
    config = configs[0]
    machine, cluster = machine or this_machine, cluster or ray_cluster
    if config.pool == "local":
        return _on_machine(config, asked, machine(config.device != "cpu"))
    cores = max(map(cores_of_run, configs))
    if config.address:
        there, where = cluster(config.address), f"the Ray cluster at {config.address}"
    else:
        there, where = machine(config.device != "cpu"), "this machine, each with a Ray cluster of its own"
    fit = max(1, int(min([there.cores / cores, *_gpu_bounds(configs, float(len(there.gpus)))])))
    return Places(asked or fit, f"on {where}: {there.cores:g} cores, {cores} a run")


def _on_machine(config: TrainConfig, asked: int, machine: Resources) -> Places:
    threads = config.threads or 1
    bounds = [machine.cores / threads, machine.memory / CELL_BYTES]
    environment = {"OMP_NUM_THREADS": str(threads)}
    why = f"on this machine, each a process of {threads} thread{'s' if threads > 1 else ''}"
    environments: tuple[dict[str, str], ...] = (environment,)
    if machine.gpus:
        bounds.append(CELLS_PER_GPU * len(machine.gpus))
        environments = tuple(environment | {"CUDA_VISIBLE_DEVICES": gpu} for gpu in machine.gpus)
        why += f", over {len(machine.gpus)} GPU{'s' if len(machine.gpus) > 1 else ''}"
    return Places(asked or max(1, int(min(bounds))), why, environments)


def _gpu_bounds(configs: Sequence[TrainConfig], gpus: float) -> list[float]:
    """How often the GPUs that one run claims go into those there are."""
    claims = []
    for config in configs:
        trainer, actor = share_gpus(config, gpus)
        claims.append(trainer + (actor * config.render.actors if config.draws else 0.0))
    return [gpus / max(claims)] if max(claims) > 0 else []


def this_machine(with_gpus: bool) -> Resources:
    """Cores that this process may use, memory that is free now, and the GPUs that torch sees."""
    return Resources(cores_here(), psutil.virtual_memory().available, _gpu_names() if with_gpus else ())


def _gpu_names() -> tuple[str, ...]:
    import torch

    count = torch.cuda.device_count()
    named = [n.strip() for n in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if n.strip()]
    return tuple(named[:count]) if len(named) >= count else tuple(str(i) for i in range(count))


def ray_cluster(address: str) -> Resources:
    """What a cluster has in all."""
    from dg.cluster.session import join_cluster

    with closing(join_cluster(address)) as session:
        resources = session.resources()
    gpus = int(resources.get("GPU", 0))
    return Resources(float(resources.get("CPU", 1)), gpus=tuple(str(i) for i in range(gpus)))
