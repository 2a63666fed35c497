"""One evaluation: a lifter on test sets, its results written and logged. `dg.evaluate` is its command line."""

import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dg.cluster.resources import share_gpus
from dg.datasets.base import PoseDataset
from dg.datasets.laws import checked, line
from dg.evaluation.predictions import LifterPredictor, evaluate
from dg.files.atomic import replace_file, write_json
from dg.files.checkpoint import CheckpointError
from dg.methods.fast_matmul import use_fast_matmul
from dg.settings.command_line import check_plugins
from dg.settings.config import TrainConfig
from dg.tracking import DataInput, Tracker, environment_tags, make_tracker, prepare, tracking_uri, ui_command
from dg.tracking.names import TAG_CHECKS, tags_of_image_depth
from dg.trained.description import LifterDescription
from dg.trained.evaluation_report import (
    FILES_FOLDER,
    TAG_EVALUATES,
    TargetResult,
    log_results,
)
from dg.trained.foreign import ForeignLifter, open_program
from dg.trained.identity import Identity, identity_of_file, identity_of_run
from dg.trained.options import described, stored_lifter
from dg.trained.places import note_on_store, of_drawing
from dg.trained.settings import EvaluateOptions
from dg.trained.stored import StoredLifter
from dg.training.build import device_of, inputs_of
from dg.training.problem import load_targets, on_skeleton
from dg.training.rendering import make_live_depth, with_feature_sizes

PROTOCOL = "protocol"


def load_lifter(options: EvaluateOptions) -> StoredLifter:
    """The lifter that is meant, with the configuration under which it is evaluated.

    Raises ConfigError and CheckpointError.
    """
    if not options.model:
        return stored_lifter(options.checkpoint, options.published, options.weights, options.args)
    path = Path(options.model)
    program = open_program(path, options.trust)
    if program.description is None:
        config = with_feature_sizes(described(options.args, ("inputs",)))
        description = LifterDescription.of_config(config, options.unit)
    else:
        description = program.description
        config = described(options.args, known=description.settings)
    lifter = ForeignLifter(program, description)
    selection = "source_val" if description.made_from.get("selection") == "source_val" else "last"
    run_id = str(description.made_from.get("run_id") or "")
    return StoredLifter(path, config, lifter, inputs_of(config), selection, run_id=run_id)


def evaluate_lifter(stored: StoredLifter, tta: str = PROTOCOL) -> list[TargetResult]:
    """Evaluate the lifter on every target of its configuration.

    Args:
        stored: the lifter, with the configuration under which it is evaluated.
        tta: one of `dg.evaluation.predictions.TTA`, or `protocol` for each test set's own.

    Returns:
        One result for each target, as `evaluate_on` returns them.
    """
    stored.check_places(("targets",))
    return evaluate_on(stored, targets_of(stored.config), tta)


def evaluate_on(stored: StoredLifter, targets: Sequence[PoseDataset], tta: str = PROTOCOL) -> list[TargetResult]:
    """The lifter on data sets, with depth drawn where its input needs it and they bring none.

    Args:
        stored: the lifter, with the configuration under which it is evaluated.
        targets: test sets on the lifter's skeleton.
        tta: one of `dg.evaluation.predictions.TTA`, or `protocol` for each test set's own.

    Raises:
        DataError: for data that cannot be used.
        CheckpointError: for a lifter whose answers are not finite.
        ConfigError: for a configuration that cannot be evaluated, a place that a checkpoint alone names, and whatever
            the render pool raises.
    """
    config = stored.config
    # A run that drew nothing may be tested on what has to be drawn, and the other way round.
    drawn = config.needs_depth and any(target.poses.depth is None for target in targets)
    stored.check_places(of_drawing(config) if drawn else ())
    device = device_of(config)
    options = check_plugins(config)
    predictor = LifterPredictor(stored.lifter.to(device), stored.inputs)
    with _gpus_per_actor(config) as gpus:
        live = make_live_depth(config, options, gpus) if drawn else None
        try:
            results = []
            for dataset in targets:
                ready = replace(dataset, poses=dataset.poses.to(device))
                if live is not None and ready.poses.depth is None:
                    ready = live.with_depth(dataset, ready.poses)
                results.append(_evaluate_target(stored, predictor, ready, tta))
            return results
        finally:
            if live is not None:
                live.pool.close()


def _evaluate_target(stored: StoredLifter, predictor: LifterPredictor, dataset: PoseDataset, tta: str) -> TargetResult:
    try:
        own = None if tta == PROTOCOL else tta
        found = evaluate(predictor, dataset, stored.config.depth_label, stored.config.frames, own)
    except CheckpointError:
        raise
    except ValueError as error:
        raise CheckpointError(f"{stored.path} on {dataset.name}: {error}") from error
    return TargetResult(found, dataset)


def targets_of(config: TrainConfig) -> list[PoseDataset]:
    """The test part of every target on the lifter's skeleton. Raises ConfigError where two have one name."""
    found = load_targets(config.target_names, config.data_checks)
    return [replace(target, poses=on_skeleton(target, config)) for target in found]


@contextmanager
def _gpus_per_actor(config: TrainConfig) -> Iterator[float]:
    """Joins or starts a Ray cluster for `pool=ray`, and shares its GPUs as dg.train does."""
    if config.pool != "ray" or not config.needs_depth:
        yield 0.0
        return
    from dg.cluster.session import open_session

    with closing(open_session(config, Path.cwd())) as session:
        yield share_gpus(config, session.resources().get("GPU", 0.0))[1]


# -- results


def _summarise(stored: StoredLifter, identity: Identity, results: Sequence[TargetResult]) -> dict[str, Any]:
    """What the JSON file holds of lifter and results."""
    config = stored.config
    return {
        "file": str(stored.path),
        "evaluates": stored.run_id,
        "method": identity.method,
        "regime": identity.regime,
        "lifter": identity.lifter,
        "inputs": config.inputs,
        "dscale2d": config.dscale2d_resolved,
        "d_ref": config.d_ref,
        "frames": config.frames,
        "depth": config.depth_name,
        "seed": identity.seed,
        "selection": stored.selection,
        "data": {r.target: r.dataset.identity for r in results},
        "data_checks": checks_of(results),
        "results": [r.row(stored.selection, stored.epoch) for r in results],
    }


def checks_of(results: Sequence[TargetResult]) -> dict[str, str]:
    """What the laws say of each target's data."""
    return checked((r.target, r.dataset) for r in results)


def run(options: EvaluateOptions) -> dict[str, Any]:
    """Evaluate, write the files and log the run; returns what the JSON file holds. Raises as its parts do."""
    start = time.monotonic()
    use_fast_matmul()
    stored = load_lifter(options)
    config, place = stored.config, options.place
    stored.check_places(("targets", *of_drawing(config)))  # before anything is opened or written
    if config.threads:
        torch.set_num_threads(config.threads)
    # Who the lifter is: its run, or its file.
    if options.checkpoint:
        identity = identity_of_run(config)
    else:
        lifter = Path(options.model).suffix.lstrip(".") if options.model else config.lifter["name"]
        identity = identity_of_file(options.name, options.regime, lifter, config)
    uri = tracking_uri(config.tracking.uri)
    # Before the work: it finds out whether there is a store.
    experiment_id = prepare(uri, config.tracking.experiment)
    results = evaluate_lifter(stored, options.tta)
    errors = place.with_name(f"{place.stem}.errors.npz")
    # Rows keep the order of the data sets.
    arrays: dict[str, Any] = {f"{r.target}/{name}": values for r in results for name, values in r.arrays().items()}
    replace_file(errors, lambda file: np.savez_compressed(file, **arrays))
    summary = _summarise(stored, identity, results) | {"errors": str(errors)}
    summary["wall_s"] = round(time.monotonic() - start, 3)
    tracker = make_tracker(uri, config.tracking.experiment, place.parent)
    summary["run_id"] = _log(tracker, options, stored, identity, results)
    write_json(place, summary)
    for path in (errors, place):
        tracker.log_artifact(path, FILES_FOLDER)
    tracker.finish()
    note = "" if stored.recorded is None else note_on_store(stored.recorded, config)
    return summary | {
        "out": str(place),
        "see": ui_command(uri, config.tracking.experiment, experiment_id),
        "note": note,
    }


def _log(
    tracker: Tracker,
    options: EvaluateOptions,
    stored: StoredLifter,
    identity: Identity,
    results: Sequence[TargetResult],
) -> str:
    """Begin the evaluation's own run and log its results; returns its id."""
    config = stored.config
    protocols = {r.target: r.evaluation.protocol for r in results}
    tags = environment_tags() | identity.tags(config, stored.selection, protocols)
    tags |= tags_of_image_depth(tags, {r.dataset.source_depth for r in results})
    tags[TAG_CHECKS] = line(checks_of(results))
    tags[TAG_EVALUATES] = stored.run_id or stored.path.name
    name = config.tracking.run_name or f"evaluation of {options.name}"
    run_id = tracker.start(name, identity.params, tags)
    tested = [(result.dataset, result.evaluation.protocol) for result in results]
    tracker.log_inputs([DataInput(d.name, d.identity, len(d), "test", protocol) for d, protocol in tested])
    log_results(tracker, results, stored.selection)
    return run_id
