"""From a configuration to a running trainer: data, body, pool, lifter, method, tracker. No Ray here.

`Experiment` is a plain class that runs in the trainer actor, or in the calling process with `pool=local`.
"""

import math
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from dg.body import BODIES
from dg.body.base import Body
from dg.checkpoint import CheckpointError, Checkpoints, load_file
from dg.command_line import check_plugins, table_of
from dg.config import ConfigError, RunInfo, TrainConfig
from dg.contact_sheet import contact_sheet
from dg.datasets import DATASETS
from dg.datasets.base import Dataset, PoseDataset
from dg.live_depth import LiveDepth
from dg.methods.base import DGMethod, MethodContext, SourceData, TargetPoses, TrainingPlan, training_anchors
from dg.methods.fast_matmul import use_fast_matmul
from dg.plugins import make_options, resolve
from dg.pose.batch import InputSpec, PoseBatch
from dg.pose.bones import bone_lengths
from dg.pose.boxes import box_size
from dg.pose.detections import SYNTHETIC_DETECTIONS
from dg.pose.joint_map import skeleton_named
from dg.pose.skeleton import Skeleton
from dg.pose.uadd import RadiusLaw
from dg.tracking import NO_DEPTH, Tracker, environment_tags, make_tracker, run_tags
from dg.trainer import Problem, Trainer
from lifters.base import Lifter
from lifters.published import load_published
from lifters.recipe import Recipe
from render_workers.base import RenderPool, RenderRequest
from render_workers.cache import DepthCache
from render_workers.pool_options import PoolOptions
from render_workers.uadd import UaddOptions
from render_workers.worker import WorkerSpec

PICTURES = 12


class Experiment:
    """One run. `run` blocks; `poll` and `stop` may be called meanwhile from other threads (or through Ray)."""

    def __init__(self, config: TrainConfig, info: RunInfo) -> None:
        self.config, self.info = config, info
        self._records: deque[dict[str, Any]] = deque()
        self._trainer: Trainer | None = None
        self._stop_asked = threading.Event()

    def poll(self) -> list[dict[str, Any]]:
        """Progress records since the last call, for the driver to show."""
        records = []
        while self._records:
            records.append(self._records.popleft())
        return records

    def stop(self) -> None:
        """Finish the batch in hand, checkpoint, and let `run` return."""
        self._stop_asked.set()
        if self._trainer is not None:
            self._trainer.stop()

    def run(self, report: Callable[[dict[str, Any]], None] | None = None) -> dict[str, Any]:
        """Train and evaluate; returns the summary. Leaves no worker behind, whatever happens."""
        report = report or self._records.append
        config = self.config
        torch.set_num_threads(config.threads or self._spare_threads())
        use_fast_matmul()
        # Made first: its thread imports MLflow while the data load.
        tracker = make_tracker(self.info.tracking_uri, config.tracking.experiment, Path(self.info.out))
        options = check_plugins(config)
        live = make_live_depth(config, options, self.info.gpus_per_actor)  # its workers start while the data load
        try:
            return self._run(options, live, tracker, report)
        finally:
            if live is not None:
                live.pool.close()

    def _run(
        self,
        options: dict[str, Any],
        live: LiveDepth | None,
        tracker: Tracker,
        report: Callable[[dict[str, Any]], None],
    ) -> dict[str, Any]:
        problem = load_problem(self.config, options)
        # Checkpoints carry the resolved one, so that they can be evaluated without the training set.
        config = self.config = with_box_size(self.config, problem.train)
        checkpoints = Checkpoints(Path(self.info.out))
        state = checkpoints.load_latest(config.digest()) if config.resume == "auto" else None
        run_id = tracker.start(
            run_name=self.info.run_name,
            params=config.flat() | _flat_options(options) | self._recipe(options),
            tags=self._tags(problem, options),
            run_id=state["run_id"] if state else None,
            parent_run_id=config.tracking.parent_run_id or None,
        )
        report({"kind": "start", "run_id": run_id, "train": len(problem.train), "val": len(problem.val),
                "targets": {t.name: len(t) for t in problem.targets}, "resumed": bool(state)})  # fmt: skip
        status, reason = "FAILED", "error"
        try:
            method = make_method(config, options, problem)
            draw = None if live is None else ContactSheet(live, worker_spec(config)).draw
            trainer = Trainer(config, problem, method, live, checkpoints, tracker, report, draw)
            if state is not None:
                trainer.load(state)
            self._trainer = trainer
            if self._stop_asked.is_set():
                trainer.stop()
            summary = {"run_id": run_id, "regime": method.regime} | trainer.fit(run_id)
            status, reason = ("KILLED", "interrupted") if summary["interrupted"] else ("FINISHED", "done")
            return summary
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise
        finally:
            tracker.finish(status, reason)

    def _tags(self, problem: Problem, options: dict[str, Any]) -> dict[str, str]:
        """What `dg.compare` and people search by."""
        config = self.config
        method = resolve(table_of("method"), "method", config.method["name"])
        oracles = method.oracles(options["method"])
        return environment_tags() | run_tags(
            method=config.method["name"],
            regime=method.regime,
            lifter=config.lifter["name"],
            inputs=config.inputs,
            dscale2d=config.dscale2d_resolved,
            depth_source=config.depth["name"] if config.needs_depth else NO_DEPTH,
            selection="source_val",
            oracle=(*(("depth",) if config.needs_depth else ()), *oracles),
            protocols={t.name: t.protocol(problem.depth_label) for t in problem.targets},
            adapted_to="" if problem.adaptation is None else f"{problem.adaptation.name}:{problem.adaptation.part}",
        ) | {"config.digest": config.digest(), "mlflow.note.content": self.info.note}  # fmt: skip

    def _recipe(self, options: dict[str, Any]) -> dict[str, Any]:
        """How the lifter is trained, as parameters."""
        lifter = resolve(table_of("lifter"), "lifter", self.config.lifter["name"])
        recipe = resolved_recipe(self.config, lifter.recipe(options_for_windows(self.config, options["lifter"])))
        return {f"recipe.{name}": value for name, value in asdict(recipe).items()}

    def _spare_threads(self) -> int:
        """The machine's cores less one for each render worker on it, at least one."""
        import os

        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        busy = self.config.render.actors if self.config.pool == "ray" and self.config.needs_depth else 0
        return max(1, cores - busy)


def _flat_options(options: dict[str, Any]) -> dict[str, Any]:
    """Every option of the chosen plug-ins, given or default: `{"method.feedback": "released", ...}`."""
    return {f"{group}.{name}": value for group, chosen in options.items() for name, value in asdict(chosen).items()}


def device_of(config: TrainConfig) -> torch.device:
    """The trainer's device. Raises ConfigError when CUDA is asked for and absent."""
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device=cuda, but torch sees no CUDA device; use device=auto or device=cpu")
    return torch.device("cuda" if config.device != "cpu" and torch.cuda.is_available() else "cpu")


def load_problem(config: TrainConfig, options: dict[str, Any]) -> Problem:
    """The source's training and validation part and every target, on the run's skeleton."""
    source = resolve(DATASETS, "data", config.data["name"])(options["data"])
    skeleton = skeleton_named(config.skeleton)
    train, val = (prepared(source.load(split), config) for split in ("train", "val"))
    targets = []
    for number, name in enumerate(config.target_names):
        target = open_target(name).load("test")
        if target.name in {t.name for t in targets}:
            target = replace(target, name=f"{target.name}_{number}")
        targets.append(prepared(target, config))
    return Problem(train, val, tuple(targets), config.depth_label, load_adaptation(config, skeleton))


def open_target(name: str) -> Dataset:
    """The data set behind `NAME:ARGUMENT`."""
    kind, _, argument = name.partition(":")
    plugin = resolve(DATASETS, "target", kind)
    return plugin(make_options(plugin, "target", kind, plugin.options_for_target(argument)))


def load_adaptation(config: TrainConfig, skeleton: Skeleton) -> TargetPoses | None:
    """The 2D that a domain-adaptation method may see. Raises ConfigError where method and adapt_to disagree."""
    name = config.method["name"]
    adapts = resolve(table_of("method"), "method", name).regime == "DA"
    if adapts and not config.adapt_to:
        raise ConfigError(f"method={name} is domain adaptation: say whose 2D poses it may see, adapt_to=NAME:ARGUMENT")
    if not adapts:
        if config.adapt_to:
            raise ConfigError(f"method={name} is domain generalisation and sees no target; leave adapt_to out")
        return None
    found = open_target(config.adapt_to).load(config.adapt_part)
    target = replace(found, poses=found.poses.convert(skeleton))
    return TargetPoses(target.name, config.adapt_part, target.poses.joints_2d[:, 0], target.poses.camera)


def prepared(dataset: PoseDataset, config: TrainConfig) -> PoseDataset:
    """A data set on the run's skeleton, its 2D named after what the lifter will be given.

    Raises ConfigError for detected 2D without confidence where the run's poses are seen as a detector sees them.
    """
    poses = dataset.poses.convert(skeleton_named(config.skeleton))
    if not config.detects or poses.confidence is not None:
        return replace(dataset, poses=poses)
    if dataset.source_2d != "gt":
        raise ConfigError(
            f"inputs={config.inputs} needs the confidence of detected 2D, but {dataset.name} has {dataset.source_2d} "
            "2D without any; give detections that carry it, or ground-truth 2D, which gets synthetic detections"
        )
    return replace(dataset, poses=poses, source_2d=SYNTHETIC_DETECTIONS)


def with_box_size(config: TrainConfig, train: PoseDataset) -> TrainConfig:
    """With the mean box of the training poses as `box_ref` where dscale2d=box leaves it open."""
    if config.dscale2d_resolved != "box" or config.box_ref > 0:
        return config
    poses = train.poses
    # Rounded, so that the digest of a resumed run does not hang on the order of a sum.
    return replace(config, box_ref=round(float(box_size(poses.joints_2d[poses.valid]).double().mean()), 6))


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


def make_method(config: TrainConfig, options: dict[str, Any], problem: Problem) -> DGMethod:
    """Lifter and method, seeded, with the budget in lifter steps."""
    skeleton = problem.train.poses.skeleton
    config = with_box_size(config, problem.train)
    inputs = InputSpec(
        config.inputs, config.dscale2d_resolved, config.d_ref, config.f_ref, config.depth_clip, box_ref=config.box_ref
    )
    torch.manual_seed(config.seed)
    lifter_options = options_for_windows(config, options["lifter"])
    lifter = make_lifter(config, lifter_options, skeleton, inputs.size)
    anchors = training_anchors(problem.train.clip, lifter, config.frames)
    steps_per_epoch = len(anchors) // config.batch_size
    if steps_per_epoch == 0:
        raise ConfigError(
            f"batch_size={config.batch_size} is larger than the {len(anchors)} training windows; make it smaller"
        )
    if config.init_from:
        initialise(lifter, Path(config.init_from))
    method_class = resolve(table_of("method"), "method", config.method["name"])
    if not method_class.takes(options["method"], config.frames):
        hint = "; method.windows=centre_transform would let it" if hasattr(options["method"], "windows") else ""
        raise ConfigError(
            f"method={config.method['name']} augments single frames; frames={config.frames} is not for it{hint}"
        )
    pretrain = config.pretrain_epochs
    if pretrain < 0:
        pretrain = 0 if config.init_from else math.floor(method_class.pretrain_share * config.epochs)
    total = config.epochs * steps_per_epoch
    plan = TrainingPlan(
        total_steps=min(total, config.max_steps) if config.max_steps else total,
        steps_per_epoch=steps_per_epoch,
        pretrain_steps=pretrain * steps_per_epoch,
        recipe=resolved_recipe(config, type(lifter).recipe(lifter_options)),
        grad_clip=config.grad_clip,
    )
    source = SourceData(problem.train.poses, subject_bone_lengths(problem.train))
    context = MethodContext(lifter, inputs, skeleton, plan, source, device_of(config), problem.adaptation)
    return method_class(context, options["method"])


def options_for_windows(config: TrainConfig, options: Any) -> Any:  # noqa: ANN401 - the lifter's own dataclass
    """The lifter's options for the run's windows. Raises ConfigError for a length that it cannot take."""
    try:
        return resolve(table_of("lifter"), "lifter", config.lifter["name"]).for_frames(options, config.frames)
    except ValueError as error:
        raise ConfigError(f"lifter={config.lifter['name']}: {error}") from error


def make_lifter(config: TrainConfig, options: Any, skeleton: Skeleton, channels: int) -> Lifter:  # noqa: ANN401
    """The lifter with fresh weights. Raises ConfigError where it cannot take the run's windows."""
    lifter = resolve(table_of("lifter"), "lifter", config.lifter["name"])(skeleton, channels, options)
    try:
        lifter.target_frames(config.frames)
    except ValueError as error:
        raise ConfigError(f"lifter={config.lifter['name']}: {error}") from error
    return lifter


def resolved_recipe(config: TrainConfig, original: Recipe) -> Recipe:
    """How the run trains its lifter: the original or the common recipe, and what the command line changes of it."""
    recipe = original if config.recipe == "original" else Recipe()
    schedule = recipe.lr_schedule if config.lr_schedule == "auto" else config.lr_schedule
    return replace(recipe, lr=config.lr or recipe.lr, lr_schedule=schedule)


def initialise(lifter: Lifter, path: Path) -> None:
    """Fill a lifter from a checkpoint: `best.pt`, a run's `checkpoint-STEP.pt`, or one published by PoseAug.

    Raises CheckpointError naming the file and what does not fit.
    """
    state = load_file(path)
    prefix = "lifter."
    try:
        if "lifter" in state:
            lifter.load_state_dict(state["lifter"])
        elif "method" in state:
            weights = state["method"]["networks"]
            lifter.load_state_dict({k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)})
        else:
            load_published(lifter, state)
    except (ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path} does not fit lifter={type(lifter).__name__} with {lifter.channels} channels a "
                              f"joint: {error}") from error  # fmt: skip


def subject_bone_lengths(dataset: PoseDataset) -> torch.Tensor:
    """Median bone lengths of each subject, `[subjects, bones]`, metres."""
    lengths = bone_lengths(dataset.poses.joints_3d[:, 0], dataset.poses.skeleton)
    present = dataset.subject.unique()
    return torch.stack([lengths[dataset.subject == s].median(0).values for s in present])


class ContactSheet:
    """Draws some of the poses that the method proposed, with the depth that the lifter is given for them."""

    def __init__(self, live: LiveDepth, spec: WorkerSpec) -> None:
        self.live, self.spec, self.worker = live, spec, None

    def draw(self, poses: PoseBatch) -> Any:  # noqa: ANN401 - a PIL image
        chosen = poses[poses.valid.nonzero()[:PICTURES, 0]].to("cpu")
        self.worker = self.worker or self.spec.build()
        request = RenderRequest(
            self.live.body.fit(chosen.joints_3d[:, 0], chosen.skeleton),
            chosen.camera,
            chosen.joints_2d[:, 0],
            torch.arange(len(chosen)),
        )
        images = self.worker.images(request)
        titles = [f"{z:.1f} m" for z in chosen.joints_3d[:, 0, chosen.skeleton.root, 2].tolist()]
        rgb = images["rgb"].transpose(0, 2, 3, 1)
        return contact_sheet(rgb, images["depth"], images["joints_px"], chosen.skeleton, titles)
