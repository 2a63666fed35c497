"""One training run from its configuration to its summary. No Ray here: this runs in the trainer actor, or in the
calling process with `pool=local`.
"""

import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from dg.cluster.resources import trainer_threads
from dg.datasets.base import PoseDataset
from dg.datasets.laws import line
from dg.files.checkpoint import Checkpoints
from dg.methods.fast_matmul import use_fast_matmul
from dg.methods.light_steps import leave_compiler_out
from dg.pose.devices import add_in_one_order, set_tf32
from dg.settings.command_line import check_plugins, flat_options, table_of
from dg.settings.config import RunInfo, TrainConfig, deciding
from dg.settings.plugins import resolve
from dg.tracking import Tracker, environment_tags, make_tracker, run_tags
from dg.tracking.names import TAG_CHECKS, TAG_CHILD, TAG_NOTE, TAG_RECIPE, tags_of_image_depth
from dg.training.build import device_of, lifter_class, make_method, options_for_windows, resolved_recipe
from dg.training.contact_sheet import ContactSheet
from dg.training.live_depth import LiveDepth
from dg.training.problem import Problem, check_same_data, load_problem, sizes_of_features, source_content, with_box_size
from dg.training.rendering import look_ahead_note, make_live_depth, with_feature_sizes, worker_spec
from dg.training.run_record import begin_record, record_results, run_before, title_of
from dg.training.trainer import Report, Trainer
from render_workers.base import RenderPool

if TYPE_CHECKING:
    from render_workers.ray_actor import StartedActor

SWITCH_S = 5e-4  # the interpreter changes threads after so long
Watch = Callable[[RenderPool], None]
Keep = Callable[[Tracker, dict[str, Any]], None]  # logs further things of a finished run, given its summary


def train(
    config: TrainConfig,
    info: RunInfo,
    report: Report,
    stop: threading.Event,
    watch: Watch | None = None,
    keep: Keep | None = None,
    started: Sequence["StartedActor"] = (),
) -> dict[str, Any]:
    """Train and evaluate one run. Leaves no worker behind, whatever happens.

    Args:
        config: what to train.
        info: what the driver decided: folder, MLflow store, name.
        report: takes progress records, for people to see.
        stop: when it is set, the run finishes the batch in hand, writes a checkpoint and returns.
        watch: is given the render pool, once there is one.
        keep: is called when the run has finished, before its record in MLflow is closed.
        started: render actors that were started ahead.

    Returns:
        The summary: results by target and selection, and the figures of the run.

    Raises:
        ConfigError, DataError, CheckpointError, DivergedError, PoolFailure: as the parts do.
    """
    torch.set_num_threads(trainer_threads(config))
    # Each of a step's thousand operations lets go of the interpreter and takes it back: beside a thread that imports or
    # writes to MLflow it would wait for 5 ms each time.
    sys.setswitchinterval(SWITCH_S)
    set_tf32(config.tf32)
    leave_compiler_out()
    if device_of(config).type == "cpu":
        use_fast_matmul()
        add_in_one_order()
    tracker = make_tracker(
        info.tracking_uri, config.tracking.experiment, Path(info.out), watch_machine=config.tracking.system_metrics
    )
    options = check_plugins(config)
    live = make_live_depth(config, options, info.gpus_per_actor, started)  # its workers start while the data load
    if live is not None:
        live.stop = stop
        if live.cache is not None:
            live.cache.warn = lambda text: report({"kind": "note", "text": text})
        if watch is not None:
            watch(live.pool)
    try:
        problem = load_problem(config, options, None if live is None else partial(_begin_drawing, live, config))
        # Checkpoints carry the resolved one, so that they can be evaluated without the training set.
        config = with_feature_sizes(with_box_size(config, problem.train), sizes_of_features(problem, config))
        config = replace(config, data_content=source_content(problem.train, problem.val))
        return _train_on(config, info, problem, options, live, tracker, report, stop, keep)
    finally:
        if live is not None:
            live.close()


def _begin_drawing(live: LiveDepth, config: TrainConfig, train: PoseDataset) -> None:
    """Have the workers draw the training poses while the targets load; one in this process would gain nothing."""
    if config.pool != "local" and train.poses.depth is None:
        live.begin(train, train.poses.to(device_of(config)))


def _train_on(
    config: TrainConfig,
    info: RunInfo,
    problem: Problem,
    options: dict[str, Any],
    live: LiveDepth | None,
    tracker: Tracker,
    report: Report,
    stop: threading.Event,
    keep: Keep | None,
) -> dict[str, Any]:
    checkpoints = Checkpoints(Path(info.out))
    state = None
    if config.resume == "auto":
        state = checkpoints.load_latest(
            config.digest(),
            lambda text: report({"kind": "note", "text": text}),
            lambda stored: config.differences(TrainConfig.from_plain(stored.get("config", {}))),
        )
    if state is not None:
        check_same_data(state, problem)
    before = run_before(Path(info.out), config.digest()) if config.resume == "auto" else None
    run_id = tracker.start(
        run_name=config.tracking.run_name or title_of(config, problem.train.name),
        params=deciding(config, config.flat() | flat_options(options) | _recipe(config, options)),
        tags=_tags(config, info, problem, options),
        run_id=state["run_id"] if state else before,
        parent_run_id=config.tracking.parent_run_id or None,
        wait=False,  # the trainer connects once it is under way
    )
    report({"kind": "start", "run_id": run_id, "train": len(problem.train), "val": len(problem.val),
            "targets": {t.name: len(t) for t in problem.targets}, "resumed": bool(state)})  # fmt: skip
    report({"kind": "note", "text": line(problem.checks)})
    if note := look_ahead_note(config):
        report({"kind": "note", "text": note})
    status, reason = "FAILED", "error"
    try:
        method = make_method(config, options, problem)
        begin_record(tracker, Path(info.out), config, problem, run_id)
        draw = None if live is None else ContactSheet(live, worker_spec(config)).draw
        trainer = Trainer(config, problem, method, live, checkpoints, tracker, report, draw, stop)
        if state is not None:
            trainer.load(state)
        data = {"data": problem.contents, "data_checks": problem.checks}
        fitted = trainer.fit()
        # By now the store has given the run its own id.
        summary = {"run_id": tracker.run_id, "regime": method.regime} | data | fitted
        if not summary["interrupted"]:
            record_results(tracker, Path(info.out), config, summary, trainer.views, trainer.position.ended_epoch)
            if keep is not None:
                keep(tracker, summary)
        status, reason = ("KILLED", "interrupted") if summary["interrupted"] else ("FINISHED", "done")
        return summary
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise
    finally:
        tracker.finish(status, reason)


def _tags(config: TrainConfig, info: RunInfo, problem: Problem, options: dict[str, Any]) -> dict[str, str]:
    """What `dg.compare` and people search by."""
    method = resolve(table_of("method"), "method", config.method["name"])
    oracles = method.oracles(options["method"])
    tags = environment_tags() | run_tags(
        method=config.method["name"],
        regime=method.regime,
        lifter=config.lifter["name"],
        inputs=config.inputs,
        dscale2d=config.dscale2d_resolved,
        depth_source=config.depth_name,
        selection="source_val",
        oracle=(*config.oracles, *oracles),
        protocols={t.name: t.protocol(problem.depth_label) for t in problem.targets},
        adapted_to="" if problem.adaptation is None else problem.adaptation.label,
        source=problem.train.name,
    ) | {"config.digest": config.digest(), TAG_NOTE: info.note, TAG_CHILD: config.tracking.child}  # fmt: skip
    tags |= {TAG_CHECKS: line(problem.checks), "command": info.command, "folder": info.out}
    tags |= {"mlflow.source.name": "dg train", "mlflow.source.type": "LOCAL"}
    tags |= {TAG_RECIPE: config.recipe} if config.recipe else {}
    return tags | tags_of_image_depth(tags, {t.source_depth for t in problem.targets})


def _recipe(config: TrainConfig, options: dict[str, Any]) -> dict[str, Any]:
    """How the lifter is trained, as parameters."""
    lifter = lifter_class(config)
    recipe = resolved_recipe(config, lifter.recipe(options_for_windows(config, options["lifter"])))
    return {f"recipe.{name}": value for name, value in asdict(recipe).items()}
