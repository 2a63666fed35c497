"""What a run puts on record in MLflow: its name and data at the start, its curves, and its results at the end."""

import importlib.metadata
import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from dg.datasets.base import PoseDataset
from dg.files.atomic import replace_file
from dg.files.checkpoint import BEST
from dg.methods.diagnosis import percentiles
from dg.settings.config import GROUPS, TrainConfig
from dg.tracking import DataInput, Tracker, target_metrics
from dg.tracking.labels import dataset_label, lifter_label, metric_label, run_title
from dg.tracking.names import CURVES, HEADLINE, SELECTIONS_TABLE, TAG_NOTE
from dg.training.problem import Problem
from dg.training.run_figure import draw_run
from dg.training.view_log import ViewLog

DETAILS, RUN_ID = "best.json", "mlflow_run.json"
CONFIG, SUMMARY, ENVIRONMENT = "config.yaml", "results.json", "environment.txt"
_LOGGED_VIEWS = ("valid_share", "turned_deg", "spread_over_noise_deg", "beyond_share")
_PACKAGES = ("torch", "numpy", "scipy", "ray", "mlflow", "optuna", "warp-lang", "transformers", "onnx", "onnxruntime")


# -- the start --------------------------------------------------------------------------------------------------------


def title_of(config: TrainConfig, source: str) -> str:
    """Return the name of a run in MLflow: method, inputs, source and seed, and what else was chosen for it.

    Args:
        config: of the run.
        source: what its source data are called.
    """
    options = [f"{k}={v}" for k, v in config.method.items() if k != "name"]
    more = (" ".join(options),) if options else ()
    more += (lifter_label(config.lifter["name"]),) if config.lifter["name"] != GROUPS["lifter"][1] else ()
    more += (f"{config.frames} frames",) if config.frames > 1 else ()
    more += (f"dscale2d={config.dscale2d}",) if config.dscale2d != "auto" else ()
    return run_title(config.method["name"], config.inputs, source, config.seed, more)


def data_inputs(config: TrainConfig, problem: Problem) -> list[DataInput]:
    """Return the data sets of a run as MLflow lists them.

    Args:
        config: of the run.
        problem: its data.
    """
    source = " ".join([config.data["name"], *(f"{k}={v}" for k, v in config.data.items() if k not in ("name", "root"))])
    parts = [_input(problem.train, "training", source), _input(problem.val, "validation", source)]
    label = problem.depth_label
    named = zip(problem.targets, config.target_names, strict=True)
    return parts + [_input(t, "test", name, t.protocol(label)) for t, name in named]


def _input(data: PoseDataset, context: str, source: str, protocol: str = "") -> DataInput:
    name = dataset_label(data.name)
    return DataInput(name, data.identity, len(data), context, protocol, source)


def run_before(folder: Path, digest: str) -> str | None:
    """Return the id of the MLflow run that was begun in a folder and left no checkpoint, so that it is gone on with.

    Args:
        folder: of the run.
        digest: of its configuration; a run of another one is not taken.
    """
    try:
        found = json.loads((folder / RUN_ID).read_text())
        return str(found["run_id"]) or None if found["digest"] == digest else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def begin_record(tracker: Tracker, folder: Path, config: TrainConfig, problem: Problem, run_id: str) -> None:
    """Log what is known at the start: the data, the whole configuration and the environment.

    Args:
        tracker: where the run is recorded.
        folder: the run's own; `config.yaml` and the id of the run are written there.
        config: of the run.
        problem: source, validation and targets as loaded.
        run_id: the tracking store's id of the run.
    """
    content = json.dumps({"run_id": run_id, "digest": config.digest()}).encode()
    replace_file(folder / RUN_ID, lambda file: file.write(content))
    tracker.log_inputs(data_inputs(config, problem))
    text = yaml.safe_dump(json.loads(json.dumps(config.plain())), sort_keys=False)
    _write(folder / CONFIG, text.encode())
    tracker.log_text(text, CONFIG)
    tracker.log_text(_environment(), ENVIRONMENT)


def _environment() -> str:
    lines = [f"python {platform.python_version()} on {platform.platform()}"]
    for name in _PACKAGES:
        try:
            lines.append(f"{name}=={importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return "\n".join(lines) + "\n"


# -- each epoch -------------------------------------------------------------------------------------------------------


def epoch_metrics(
    results: Mapping[str, Mapping[str, Any]],
    losses: Mapping[str, float],
    scores: Mapping[str, float],
    views: Mapping[str, float],
    figures: Mapping[str, float],
) -> dict[str, float]:
    """Return the metrics that an epoch logs: results first, the others named so that they sort behind.

    Args:
        results: target -> scores, where this is the best epoch by source validation so far.
        losses: means of the training's scalars since the epoch before.
        scores: of the evaluations, by names of `epoch_metric`.
        views: of the augmentation, as `ViewLog.look` gives them.
        figures: times, rates and counts.
    """
    metrics: dict[str, float] = {}
    for target, found in results.items():
        metrics |= target_metrics(target, found)
    metrics |= {f"train/{name.removeprefix('train/')}": value for name, value in losses.items()}
    metrics |= {name: value for name, value in scores.items() if name.rpartition("/")[2] in CURVES}
    metrics |= {name: value for name, value in views.items() if name.removeprefix("views/") in _LOGGED_VIEWS}
    return metrics | dict(figures)


# -- the end ----------------------------------------------------------------------------------------------------------


def save_details(folder: Path, epoch: int, skeleton: str, targets: Mapping[str, Mapping[str, Any]]) -> None:
    """Keep where the errors of the best epoch so far lie, as a file of the run.

    Args:
        folder: of the run.
        epoch: of the evaluation.
        skeleton: name of the skeleton of all poses.
        targets: name -> `dg.evaluation.details.error_details`.
    """
    content = json.dumps({"epoch": epoch, "skeleton": skeleton, "targets": targets}).encode()
    replace_file(folder / DETAILS, lambda file: file.write(content))


def record_results(
    tracker: Tracker, folder: Path, config: TrainConfig, summary: Mapping[str, Any], views: ViewLog, epoch: int
) -> None:
    """Log the results of a finished run beside its metrics: tables, a figure, a description and the best checkpoint.

    Args:
        tracker: of the run.
        folder: of the run.
        config: of the run.
        summary: what `Trainer.fit` returned.
        views: of its augmentation.
        epoch: the last one.
    """
    results, details = summary["results"], load_details(folder)
    made_of = {f"train/made_of/{name}": value for name, value in summary["made_of"].items()}
    tracker.log_metrics(made_of, step=epoch)
    for name, rows in _tables(summary, details, views).items():
        if rows:
            tracker.log_table(rows, name)
    tracker.log_text(json.dumps(dict(summary), indent=1), SUMMARY)
    for name, picture in (("run.png", draw_run(details, views)), ("views.png", views.figure())):
        if picture is not None:
            _write(folder / name, picture)
            tracker.log_artifact(folder / name)
    if details:
        tracker.log_artifact(folder / DETAILS)
    tracker.set_tags({TAG_NOTE: describe(config, results)})
    if config.tracking.model != "off" and (folder / BEST).is_file():
        tracker.log_artifact(folder / BEST, "checkpoint")


def load_details(folder: Path) -> dict[str, Any]:
    """Return what `save_details` kept; empty where there is no such file."""
    try:
        return json.loads((folder / DETAILS).read_text())
    except (OSError, ValueError):
        return {}


def describe(config: TrainConfig, results: Sequence[Mapping[str, Any]]) -> str:
    """Return the description of a run in Markdown: what it is, and its results under each selection."""
    label = dataset_label(str(config.data.get("label") or config.data["name"]))
    depth = f", depth {config.depth_shown}" if config.depth_shown != "none" else ""
    head = (
        f"**{title_of(config, label)}**: lifter {lifter_label(config.lifter['name'])}{depth}, {config.epochs} epochs "
        f"of batches of {config.batch_size}."
    )
    columns = ("mpjpe_mm", "pa_mpjpe_mm", "pck150", "auc")
    lines = [f"| target | selection | epoch | {' | '.join(map(metric_label, columns))} |", "|" + "---|" * 7]
    for row in sorted(results, key=lambda row: row["selection"] != HEADLINE):
        cells = [row["target"], row["selection"], str(row["epoch"]), *(f"{row[name]:.1f}" for name in columns)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([head, "", *lines, "", f"`{HEADLINE}` is the honest one; `oracle` chose the epoch by the target."])


def _tables(summary: Mapping[str, Any], details: Mapping[str, Any], views: ViewLog) -> dict[str, list[dict[str, Any]]]:
    targets = details.get("targets", {})
    seen = {k: v for k, v in summary["views"].items() if k != "warnings"}
    for name, known in views.known.items():
        seen |= percentiles(name, known)
    return {
        SELECTIONS_TABLE: [dict(row) for row in summary["results"]],
        "per_joint.json": _wide({name: found["joints"] for name, found in targets.items()}, "joint"),
        "per_action.json": [
            {"target": target, "action": action} | dict(found)
            for target, own in targets.items()
            for action, found in own["actions"].items()
        ],
        "views.json": [{"quantity": name, "value": value} for name, value in seen.items()],
    }


def _wide(columns: Mapping[str, Mapping[str, float]], key: str) -> list[dict[str, Any]]:
    """A row for each joint, a column for each target, mm."""
    names = list(next(iter(columns.values()), {}))
    return [{key: name} | {f"{t} MPJPE (mm)": round(own[name], 2) for t, own in columns.items()} for name in names]


def _write(path: Path, content: bytes) -> None:
    replace_file(path, lambda file: file.write(content))
