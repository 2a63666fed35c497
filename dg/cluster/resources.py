"""What a run asks of a Ray cluster, and what a cluster says that it has: amounts by resource, no Ray here."""

from collections.abc import Mapping

from dg.settings.config import TrainConfig
from dg.settings.cores import cores_here
from render_workers.pool_options import PoolOptions

TRAINER = "trainer"  # custom resource of nodes that are meant for trainers


def cores_of_run(config: TrainConfig) -> int:
    """Cores that a run with Ray takes: one of the trainer, and one of each render actor.

    Args:
        config: of the run.
    """
    return 1 + (config.render.actors if config.draws else 0)


def trainer_threads(config: TrainConfig) -> int:
    """Threads that the trainer computes with: `threads` where it is given, else the machine's cores less one for each
    render worker on it, but two where there are two, for a render worker on the second core has time left.

    Args:
        config: of the run.
    """
    return config.threads or max(min(2, cores_here()), cores_here() - _workers_beside(config))


def shares_cores(config: TrainConfig) -> bool:
    """Whether the trainer's threads and the render workers beside it are more than this machine's cores.

    Args:
        config: of the run.
    """
    return trainer_threads(config) + _workers_beside(config) > cores_here()


def _workers_beside(config: TrainConfig) -> int:
    return cores_of_run(config) - 1 if config.pool == "ray" else 0


def share_gpus(config: TrainConfig, gpus: float) -> tuple[float, float]:
    """Divide GPUs among the trainer and the render actors: a whole one each where they suffice, else equal fractions.

    With a render service, whose workers have their GPUs already, the trainer takes as much as one of them; where
    `render.gpus_per_actor` is given, what the actors leave, at most one.

    Args:
        config: of the run.
        gpus: GPUs that there are.

    Returns:
        GPUs of the trainer, and of each render actor.
    """
    if config.render.service:
        share = config.render.gpus_per_actor
        return (0.0 if config.device == "cpu" else min(gpus, share if share >= 0 else 1.0)), 0.0
    if config.render.gpus_per_actor >= 0:
        each = config.render.gpus_per_actor
        left = gpus - (each * config.render.actors if config.needs_depth else 0.0)
        wanted = {"cpu": 0.0, "cuda": min(1.0, gpus), "auto": min(1.0, max(0.0, int(100 * left) / 100))}
        return wanted[config.device], each
    if gpus == 0 or config.device == "cpu":
        return 0.0, 0.0
    share = min(1.0, int(100 * gpus / (config.render.actors + 1)) / 100)
    return share, share


def pool_options(config: TrainConfig, gpus_per_actor: float) -> PoolOptions:
    """Return the options of a pool of Ray actors, be it the run's own or one that several runs share.

    Args:
        config: of the run.
        gpus_per_actor: GPUs of each render actor; a fraction shares one.
    """
    render = config.render
    return PoolOptions(
        actors=render.actors,
        min_actors=render.min_actors,
        max_actors=None if render.max_actors == "auto" else int(render.max_actors),
        joined=config.address not in ("", "local"),
        per_actor=render.per_actor,
        gpus_per_actor=gpus_per_actor,
        start_timeout_s=render.start_timeout_s,
        watchdog_s=render.watchdog_s,
        max_quarantine=render.max_quarantine,
    )


def trainer_ask(gpus: float, cluster: Mapping[str, float]) -> dict[str, float]:
    """Return the resources that the trainer asks for, with its own kind of node where the cluster has one.

    Args:
        gpus: GPUs of the trainer; a fraction shares one.
        cluster: amounts by resource of the whole cluster.
    """
    return {"CPU": 1.0, "GPU": gpus} | ({TRAINER: 1.0} if cluster.get(TRAINER, 0) >= 1 else {})


def asked(config: TrainConfig, trainer: Mapping[str, float], actor_gpus: float) -> str:
    """Return as text what a run asks for.

    Args:
        config: of the run.
        trainer: amounts by resource, from `trainer_ask`.
        actor_gpus: GPUs of each render actor.
    """
    text = f"a trainer with {amounts(trainer)}"
    if config.draws and config.render.service:
        text += f" and the workers of the render service {config.render.service}"
    elif config.draws:
        text += f" and {config.render.actors} render actors with {amounts({'CPU': 1.0, 'GPU': actor_gpus})} each"
    return text


def found(cluster: Mapping[str, float]) -> str:
    """What a cluster has, in words."""
    models = sorted(name.partition(":")[2] for name in cluster if name.startswith("accelerator_type:"))
    shown = {name: cluster.get(name, 0.0) for name in ("CPU", "GPU", TRAINER)}
    return amounts(shown) + (f" ({', '.join(models)})" if models else "")


def amounts(resources: Mapping[str, float]) -> str:
    """Return the amounts that are not zero as text, such as `4 CPU, 1 GPU`, or `nothing`."""
    return ", ".join(f"{amount:g} {name}" for name, amount in resources.items() if amount) or "nothing"
