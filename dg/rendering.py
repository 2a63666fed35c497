"""From a configuration to depth at the joints: what render workers are built from, and the pool that runs them."""

from pathlib import Path
from typing import Any

from dg.body import BODIES
from dg.body.base import Body
from dg.config import TrainConfig
from dg.live_depth import LiveDepth
from dg.plugins import resolve
from dg.pose.uadd import RadiusLaw
from render_workers.base import RenderPool
from render_workers.cache import DepthCache
from render_workers.pool_options import PoolOptions
from render_workers.uadd import UaddOptions
from render_workers.worker import WorkerSpec


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
    )


def uadd_options(config: TrainConfig) -> UaddOptions:
    """How render workers see poses as a detector does."""
    law = RadiusLaw(config.radius_mode, config.r_min, config.r_max)
    return UaddOptions(law, background_m=config.background_m)


def make_live_depth(config: TrainConfig, options: dict[str, Any], gpus_per_actor: float) -> LiveDepth | None:
    """Body and pool, or None when the inputs need no depth."""
    if not config.needs_depth:
        return None
    body: Body = resolve(BODIES, "body", config.body["name"])(options["body"])
    spec = worker_spec(config).pinned()
    cache = None if config.cache == "off" else DepthCache(Path(config.cache), spec.digest())
    return LiveDepth(body, make_pool(config, spec, gpus_per_actor), cache, config.detects)


def make_pool(config: TrainConfig, spec: WorkerSpec, gpus_per_actor: float) -> RenderPool:
    """The pool that the configuration names."""
    render = config.render
    if config.pool == "local":
        from render_workers.pool import LocalPool

        return LocalPool(spec.build, PoolOptions(actors=1, max_quarantine=render.max_quarantine))
    from render_workers.ray_pool import RayPool

    return RayPool(
        spec,
        PoolOptions(
            actors=render.actors,
            per_actor=render.per_actor,
            gpus_per_actor=gpus_per_actor,
            start_timeout_s=render.start_timeout_s,
            watchdog_s=render.watchdog_s,
            max_quarantine=render.max_quarantine,
        ),
    )
