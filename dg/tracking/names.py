"""The names a run carries in MLflow: written by the trainer, read by `dg.compare`, alike for every method.

A final result is the metric `final/<selection>/<target>/<metric>` beside the tag `protocol.<target>`, which holds the
protocol id (DESIGN 5.9). While training: `train/...`, `val/mpjpe_mm`, `test/<target>/mpjpe_mm`, `render/...`,
`time/...`. Parameters are the flat resolved configuration (`method.name`, `lifter.name`, `inputs`, `seed`, ...).
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

Selection = Literal["last", "source_val", "virtual_cameras", "oracle"]
Metric = Literal["mpjpe_mm", "pa_mpjpe_mm", "n_mpjpe_mm", "pck150", "auc"]
ActionMetric = Literal["mpjpe_action_mm", "pa_mpjpe_action_mm", "n_mpjpe_action_mm", "pck150_action", "auc_action"]
Regime = Literal["DG", "DA"]
SELECTIONS: tuple[str, ...] = get_args(Selection)
METRICS: tuple[str, ...] = get_args(Metric)
ACTION_METRICS: tuple[str, ...] = get_args(ActionMetric)
HIGHER_IS_BETTER = ("pck150", "auc", "pck150_action", "auc_action")
REGIMES: tuple[str, ...] = get_args(Regime)

TAG_METHOD, TAG_REGIME, TAG_LIFTER = "method", "regime", "lifter"
TAG_INPUTS, TAG_DSCALE2D, TAG_DEPTH = "inputs", "dscale2d", "depth_source"
TAG_SELECTION, TAG_ORACLE, TAG_PROTOCOL = "selection", "oracle", "protocol"
TAG_ADAPTED = "adapted_to"  # NAME:train or NAME:test, whose 2D a domain-adaptation run saw
TAG_CHECKS = "data.checks"  # what the laws of the data sets say of each part of the data, in words
TAG_REASON, TAG_NOTE = "status.reason", "mlflow.note.content"
TAG_RECIPE = "recipe"  # the published experiment whose settings a run started from
TAG_SWEEP = "sweep.id"  # on every trial of a sweep: such runs stay out of comparisons
PARAM_SEED = "seed"

MAX_NAME = 250
NO_DEPTH = "none"  # the depth source of a run whose inputs need no depth


def tags_of_image_depth(tags: Mapping[str, str], sources: set[str]) -> dict[str, str]:
    """Return the tags that change in a run where every target brought its depth from images.

    The depth source gets the name of the images' one, and `depth` is no longer listed as an oracle, unless one of the
    sources is one.

    Args:
        tags: the run's tags, as `run_tags` made them.
        sources: depth source of each target; empty text for a target whose depth is rendered.

    Returns:
        The changed tags; empty where nothing changes.
    """
    if tags[TAG_DEPTH] == NO_DEPTH or not sources or "" in sources:
        return {}
    oracles = [name for name in tags[TAG_ORACLE].split(",") if name]
    if not any("oracle" in source for source in sources):
        oracles = [name for name in oracles if name != "depth"]
    return {TAG_DEPTH: ",".join(sorted(sources)), TAG_ORACLE: ",".join(oracles)}


def metric_name(*parts: str) -> str:
    """Parts joined by `/`, with what MLflow refuses in a name replaced by `_`.

    A part never adds a level: its own slashes are replaced too. Names longer than MLflow takes end in a digest.
    """
    clean = [re.sub(r"[^A-Za-z0-9_.\- ]", "_", part).strip(" .") or "_" for part in parts]
    return _shortened("/".join(clean))


def key_name(name: str) -> str:
    """A flat key (parameter, tag) that MLflow takes, slashes kept."""
    return metric_name(*name.split("/"))


def final_metric(selection: str, target: str, metric: str) -> str:
    """Return the metric name under which a run logs a final result.

    Args:
        selection: one of `SELECTIONS`.
        target: the target's name.
        metric: such as `mpjpe_mm`.

    Raises:
        ValueError: the selection is none of `SELECTIONS`.
    """
    if selection not in SELECTIONS:
        raise ValueError(f"selection must be one of {list(SELECTIONS)}, got {selection!r}")
    return metric_name("final", selection, target, metric)


def epoch_metric(where: str, metric: str) -> str:
    """Return the metric name under which a run logs a score during training.

    Args:
        where: `val` for the source's held-out part, `virtual_cameras` for the same people seen by other cameras, or a
            target's name.
        metric: such as `mpjpe_mm`.
    """
    return metric_name(where, metric) if where in ("val", "virtual_cameras") else metric_name("test", where, metric)


def final_metrics(selection: str, target: str, summary: Mapping[str, float]) -> dict[str, float]:
    """Return the averages of an evaluation under the names of `final_metric`.

    Args:
        selection: one of `SELECTIONS`.
        target: the target's name.
        summary: what `PoseErrors.summary()` returns.

    Raises:
        ValueError: the selection is none of `SELECTIONS`.
    """
    return {final_metric(selection, target, metric): float(value) for metric, value in summary.items()}


def parse_final_metric(name: str) -> tuple[str, str, str] | None:
    """(selection, target, metric) of a final metric's name, None for any other name."""
    parts = name.split("/")
    return (parts[1], parts[2], parts[3]) if len(parts) == 4 and parts[0] == "final" else None


def protocol_tag(target: str) -> str:
    """Tag that holds the protocol id of a target's results."""
    return f"{TAG_PROTOCOL}.{metric_name(target)}"


def run_tags(
    *,
    method: str,
    regime: str,
    lifter: str,
    inputs: str,
    dscale2d: str,
    depth_source: str,
    selection: str,
    oracle: Sequence[str] = (),
    protocols: Mapping[str, str] | None = None,
    adapted_to: str = "",
) -> dict[str, str]:
    """Return the tags by which comparisons group and label a run.

    Args:
        method: name of the method.
        regime: `DG` or `DA`.
        lifter: name of the lifter.
        inputs: the lifter's input channels, such as `xyd`.
        dscale2d: the resolved scale normalisation of the 2D input.
        depth_source: name of the depth source; `NO_DEPTH` where the inputs need none.
        selection: how the epoch to report is chosen.
        oracle: parts of the run that use knowledge of the target or of ground truth, such as `depth` or `selection`.
        protocols: target -> protocol id.
        adapted_to: the target whose 2D a domain-adaptation run saw; empty for any other.
    """
    protocols = protocols or {}
    return {
        TAG_METHOD: method,
        TAG_REGIME: regime,
        TAG_LIFTER: lifter,
        TAG_INPUTS: inputs,
        TAG_DSCALE2D: dscale2d,
        TAG_DEPTH: depth_source,
        TAG_SELECTION: selection,
        TAG_ORACLE: ",".join(oracle),
        TAG_PROTOCOL: " ".join(protocols.values()),
        TAG_ADAPTED: adapted_to,
    } | {protocol_tag(target): protocol for target, protocol in protocols.items()}


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Flatten a nested configuration to dotted keys and text values, in their order.

    Args:
        config: nested mappings of plain values.
        prefix: text put before each key.
    """
    flat: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[key_name(f"{prefix}{key}")] = str(value)
    return flat


def _shortened(name: str) -> str:
    if len(name) <= MAX_NAME:
        return name
    digest = hashlib.blake2b(name.encode(), digest_size=6).hexdigest()
    return f"{name[: MAX_NAME - 13]}-{digest}"
