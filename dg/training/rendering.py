"""From a configuration to depth at the joints: what render workers are built from, and the pool that runs them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dg.body import BODIES
from dg.body.base import Body
from dg.cluster.resources import pool_options
from dg.pose.uadd import RadiusLaw
from dg.settings.config import ConfigError, TrainConfig
from dg.settings.plugins import OptionError, resolve
from dg.training.live_depth import LiveDepth
from render_workers.base import RenderPool
from render_workers.cache import DepthCache
from render_workers.joint_features import FeatureOptions
from render_workers.pool_options import PoolOptions
from render_workers.uadd import UaddOptions
from render_workers.worker import WorkerSpec

if TYPE_CHECKING:
    from render_workers.ray_actor import StartedActor


def worker_spec(config: TrainConfig) -> WorkerSpec:
    """What each render worker is built from."""
    body, depth = dict(config.body), dict(config.depth)
    return WorkerSpec(
        body_name=body.pop("name"),
        body_options=body,
        depth_name=depth.pop("name"),
        depth_options=depth,
        rasterizer=config.render.rasterizer,
        resolution=config.render.resolution,
        subject_span_px=config.render.subject_span_px,
        min_pool=config.render.min_pool,
        micro_batch=config.render.micro_batch,
        device=config.render.device,
        uadd=uadd_options(config) if config.detects else None,
        features=FeatureOptions(config.features, config.pose_network) if config.features else None,
    )


def look_ahead_note(config: TrainConfig) -> str:
    """What to tell who asked for more render actors than the look-ahead can keep busy; empty where all is well."""
    render = config.render
    if config.pool != "ray" or not config.draws or render.lookahead + 1 >= render.actors:
        return ""
    return (
        f"render.lookahead={render.lookahead} lets {render.lookahead + 1} batches be on their way, so some of "
        f"{render.actors} render actors will idle; {2 * render.actors} would keep them busy (docs/scaling.md)"
    )


def uadd_options(config: TrainConfig) -> UaddOptions:
    """How render workers see poses as a detector does."""
    return UaddOptions(radius_law(config), background_m=config.detection.background_m)


def radius_law(config: TrainConfig) -> RadiusLaw:
    """The disk in which depth is read around a joint.

    Args:
        config: of the run.
    """
    return RadiusLaw(config.detection.radius_mode, config.detection.r_min, config.detection.r_max)


def with_feature_sizes(config: TrainConfig, of_images: Sequence[int] = ()) -> TrainConfig:
    """Return the configuration with the channels of its features as `feature_sizes`, where that is left open.

    Args:
        config: of a run.
        of_images: channels of the features that came with images; empty: none did, and the networks say.

    Raises:
        ConfigError: a source has no features, or the features of images are of other networks than those that are read
            from what is rendered. Else what loading the networks raises.
    """
    if not config.features:
        return config
    if of_images and config.draws:
        config = replace(config, feature_sizes=list(of_images))
        return replace(config, feature_sizes=_feature_sizes(config, worker_spec(config)))
    if config.feature_sizes:
        return config
    return replace(config, feature_sizes=list(of_images) or _feature_sizes(config, worker_spec(config)))


def _feature_sizes(config: TrainConfig, spec: WorkerSpec) -> list[int]:
    """As the networks have them now. Raises ConfigError where the lifter was built for others."""
    try:
        sizes = list(spec.feature_sizes())
    except OptionError as error:
        raise ConfigError(f"inputs={config.inputs}: {error}") from error
    if config.feature_sizes and config.feature_sizes != sizes:
        raise ConfigError(
            f"inputs={config.inputs}: the lifter takes features of {list(config.feature_sizes)} channels, the networks "
            f"(depth.checkpoint, pose_network) have {sizes}; give those that it was trained with"
        )
    return sizes


def make_live_depth(
    config: TrainConfig, options: dict[str, Any], gpus_per_actor: float, started: Sequence["StartedActor"] = ()
) -> LiveDepth | None:
    """Build the body, the render pool and the cache of a run that renders.

    Args:
        config: of the run.
        options: options of each plug-in, by group; `body` is used here.
        gpus_per_actor: GPUs of each render actor; a fraction shares one.
        started: render actors that were started ahead.

    Returns:
        The source of depth during training, or None when the inputs need none, or all of it comes with images.
    """
    if not config.draws:
        return None
    body: Body = resolve(BODIES, "body", config.body["name"])(options["body"])
    spec = worker_spec(config).pinned()
    features = sum(_feature_sizes(config, spec))
    cache = None if config.cache == "off" else DepthCache(Path(config.cache), spec.digest(), features)
    return LiveDepth(body, make_pool(config, spec, gpus_per_actor, started), cache, config.detects, features)


def make_pool(
    config: TrainConfig, spec: WorkerSpec, gpus_per_actor: float, started: Sequence["StartedActor"] = ()
) -> RenderPool:
    """Build the render pool that the configuration names: local, of Ray actors, or a render service.

    Args:
        config: of the run.
        spec: builds a worker.
        gpus_per_actor: GPUs of each render actor; a fraction shares one.
        started: render actors that were started ahead, for a pool of Ray actors.
    """
    render = config.render
    if config.pool == "local":
        from render_workers.pool import LocalPool

        return LocalPool(spec.build, PoolOptions(actors=1, max_quarantine=render.max_quarantine))
    if render.service:
        from render_workers.service_pool import ServicePool

        return ServicePool(render.service, spec, pool_options(config, gpus_per_actor), label=Path(config.out).name)
    from render_workers.ray_pool import RayPool

    return RayPool(spec, pool_options(config, gpus_per_actor), started=started)
