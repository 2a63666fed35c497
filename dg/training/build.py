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

from dg.files.checkpoint import CheckpointError, Checkpoints, load_file
from dg.methods.base import DGMethod, MethodContext, SourceData, TrainingPlan, training_anchors
from dg.methods.fast_matmul import use_fast_matmul
from dg.pose.batch import InputSpec, PoseBatch
from dg.pose.skeleton import Skeleton
from dg.settings.command_line import check_plugins, table_of
from dg.settings.config import ConfigError, RunInfo, TrainConfig
from dg.settings.plugins import resolve
from dg.tracking import NO_DEPTH, Tracker, environment_tags, make_tracker, run_tags
from dg.tracking.names import tags_of_image_depth
from dg.training.contact_sheet import contact_sheet
from dg.training.live_depth import LiveDepth
from dg.training.problem import Problem, load_problem, subject_bone_lengths, with_box_size
from dg.training.rendering import look_ahead_note, make_live_depth, with_feature_sizes, worker_spec
from dg.training.trainer import Trainer
from lifters.base import Lifter
from lifters.feature_fusion import FusedLifter, fused_channels
from lifters.published import load_published
from lifters.recipe import Recipe
from render_workers.base import RenderPool, RenderRequest
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

    @property
    def pool(self) -> RenderPool | None:
        """The pool of the run, once it trains."""
        live = None if self._trainer is None else self._trainer.live_depth
        return None if live is None else live.pool

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
        config = self.config = with_feature_sizes(with_box_size(self.config, problem.train))
        checkpoints = Checkpoints(Path(self.info.out))
        state = None
        if config.resume == "auto":
            state = checkpoints.load_latest(config.digest(), lambda text: report({"kind": "note", "text": text}))
        run_id = tracker.start(
            run_name=self.info.run_name,
            params=config.flat() | _flat_options(options) | self._recipe(options),
            tags=self._tags(problem, options),
            run_id=state["run_id"] if state else None,
            parent_run_id=config.tracking.parent_run_id or None,
        )
        report({"kind": "start", "run_id": run_id, "train": len(problem.train), "val": len(problem.val),
                "targets": {t.name: len(t) for t in problem.targets}, "resumed": bool(state)})  # fmt: skip
        if note := look_ahead_note(config):
            report({"kind": "note", "text": note})
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
        tags = environment_tags() | run_tags(
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
        return tags | tags_of_image_depth(tags, {t.source_depth for t in problem.targets})

    def _recipe(self, options: dict[str, Any]) -> dict[str, Any]:
        """How the lifter is trained, as parameters."""
        lifter = lifter_class(self.config)
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


def make_method(config: TrainConfig, options: dict[str, Any], problem: Problem) -> DGMethod:
    """Lifter and method, seeded, with the budget in lifter steps."""
    skeleton = problem.train.poses.skeleton
    config = with_feature_sizes(with_box_size(config, problem.train))
    inputs = inputs_of(config)
    torch.manual_seed(config.seed)
    lifter_options = options_for_windows(config, options["lifter"])
    lifter = make_lifter(config, lifter_options, skeleton, inputs)
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
        recipe=resolved_recipe(config, lifter_class(config).recipe(lifter_options)),
        grad_clip=config.grad_clip,
    )
    source = SourceData(problem.train.poses, subject_bone_lengths(problem.train))
    context = MethodContext(lifter, inputs, skeleton, plan, source, device_of(config), problem.adaptation)
    return method_class(context, options["method"])


def options_for_windows(config: TrainConfig, options: Any) -> Any:  # noqa: ANN401 - the lifter's own dataclass
    """The lifter's options for the run's windows. Raises ConfigError for a length that it cannot take."""
    try:
        return lifter_class(config).for_frames(options, config.frames)
    except ValueError as error:
        raise ConfigError(f"lifter={config.lifter['name']}: {error}") from error


def lifter_class(config: TrainConfig) -> type[Lifter]:
    """The lifter that is named, features left out."""
    return resolve(table_of("lifter"), "lifter", config.lifter["name"])


def inputs_of(config: TrainConfig) -> InputSpec:
    """What the lifter of a run sees at each joint."""
    return InputSpec(
        config.inputs,
        config.dscale2d_resolved,
        config.d_ref,
        config.f_ref,
        config.depth_clip,
        box_ref=config.box_ref,
        feature_sizes=tuple(config.feature_sizes) if config.features else (),
    )


def make_lifter(config: TrainConfig, options: Any, skeleton: Skeleton, inputs: InputSpec) -> Lifter:  # noqa: ANN401
    """The lifter with fresh weights, behind the embedding of features where the inputs have some.

    Raises ConfigError where it cannot take the run's windows.
    """
    kind: Any = lifter_class(config)
    lifter: Lifter = kind(skeleton, fused_channels(len(inputs.names), inputs.sources), options)
    if inputs.sources:
        lifter = FusedLifter(lifter, inputs.sources)
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
