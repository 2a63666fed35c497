"""The names a run carries in MLflow: written by the trainer, read by `dg.compare`, alike for every method.

A result is the metric `target/<target>/<metric>`, at the epoch that the run's tag `selection` chooses, beside the tag
`protocol.<target>`, which holds the protocol id (DESIGN 5.9); every other selection and metric is a row of the table
`selections.json`. Names of further metrics sort behind `target/`: `test/<target>/mpjpe_mm` (each epoch), `throughput/`,
`time/`, `train/`, `trouble/`, `val/`, `views/`, `virtual_cameras/`. Parameters are those of the configuration that
decide numbers (`method.name`, `lifter.name`, `inputs`, `seed`, ...).

Runs of earlier versions have `final/<selection>/<target>/<metric>` instead, and are read as well.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from dg.tracking.labels import dataset_label, lifter_label, method_label

Selection = Literal["last", "source_val", "virtual_cameras", "oracle"]
Metric = Literal["mpjpe_mm", "pa_mpjpe_mm", "n_mpjpe_mm", "pck150", "auc"]
ActionMetric = Literal["mpjpe_action_mm", "pa_mpjpe_action_mm", "n_mpjpe_action_mm", "pck150_action", "auc_action"]
Regime = Literal["DG", "DA"]
SELECTIONS: tuple[str, ...] = get_args(Selection)
METRICS: tuple[str, ...] = get_args(Metric)
HIGHER_IS_BETTER = ("pck150", "auc", "pck150_action", "auc_action")

# `method` and `lifter` hold the name that people read; the parameters `method.name` and `lifter.name` hold the own one.
TAG_METHOD, TAG_REGIME, TAG_LIFTER, TAG_SOURCE = "method", "regime", "lifter", "source"
TAG_INPUTS, TAG_DSCALE2D, TAG_DEPTH = "inputs", "dscale2d", "depth_source"
TAG_SELECTION, TAG_ORACLE, TAG_PROTOCOL = "selection", "oracle", "protocol"
TAG_ADAPTED = "adapted_to"  # NAME:train or NAME:test, whose 2D a domain-adaptation run saw
TAG_CHECKS = "data.checks"  # what the laws of the data sets say of each part of the data, in words
TAG_REASON, TAG_NOTE = "status.reason", "mlflow.note.content"
TAG_RECIPE = "recipe"  # the published experiment whose settings a run started from
TAG_SWEEP = "sweep.id"  # on every trial of a sweep: such runs stay out of comparisons
PARAM_SEED = "seed"

HEADLINE = "source_val"  # the selection under which a run's metrics `target/...` stand
CURVES = ("mpjpe_mm", "pa_mpjpe_mm")  # metrics that are logged at each evaluation
SELECTIONS_TABLE = "selections.json"
# MLflow's pages leave out tags that begin so: what only programs read.
_HIDDEN = "mlflow.dg."
TAG_CHILD, TAG_HOST, TAG_HEARTBEAT, TAG_LOCAL = (f"{_HIDDEN}{name}" for name in ("child", "host", "heartbeat", "run"))
OLD_TAGS = {TAG_HOST: "dg.host", TAG_HEARTBEAT: "heartbeat", TAG_LOCAL: "dg.run"}  # as earlier versions wrote them

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
    oracles = [name for name in tags.get(TAG_ORACLE, "").split(",") if name]
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


def target_metric(target: str, metric: str) -> str:
    """Return the metric name under which a run logs its result on a target.

    Args:
        target: the target's name.
        metric: such as `mpjpe_mm`.
    """
    return metric_name("target", target, metric)


def target_metrics(target: str, summary: Mapping[str, Any]) -> dict[str, float]:
    """Return the averages of an evaluation under the names of `target_metric`, to three decimals; `METRICS` alone.

    Args:
        target: the target's name.
        summary: what `PoseErrors.summary()` returns.
    """
    found = {metric: float(summary[metric]) for metric in METRICS if metric in summary}
    return {target_metric(target, metric): round(value, 3) for metric, value in found.items()}


def parse_target_metric(name: str) -> tuple[str, str] | None:
    """(target, metric) of a result's name, None for any other name."""
    parts = name.split("/")
    return (parts[1], parts[2]) if len(parts) == 3 and parts[0] == "target" else None


def epoch_metric(where: str, metric: str) -> str:
    """Return the metric name under which a run logs a score during training.

    Args:
        where: `val` for the source's held-out part, `virtual_cameras` for the same people seen by other cameras, or a
            target's name.
        metric: such as `mpjpe_mm`.
    """
    return metric_name(where, metric) if where in ("val", "virtual_cameras") else metric_name("test", where, metric)


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
    source: str = "",
) -> dict[str, str]:
    """Return the tags by which comparisons group and label a run; those that would say nothing are left out.

    Args:
        method: name of the method; the tag holds its label.
        regime: `DG` or `DA`.
        lifter: name of the lifter; the tag holds its label.
        inputs: the lifter's input channels, such as `xyd`.
        dscale2d: the resolved scale normalisation of the 2D input.
        depth_source: name of the depth source; `NO_DEPTH` where the inputs need none.
        selection: how the epoch to report is chosen.
        oracle: parts of the run that use knowledge of the target or of ground truth, such as `depth` or `selection`.
        protocols: target -> protocol id.
        adapted_to: the target whose 2D a domain-adaptation run saw; empty for any other.
        source: name or label of the data it was trained on.
    """
    protocols = protocols or {}
    tags = {
        TAG_METHOD: method_label(method),
        TAG_REGIME: regime,
        TAG_LIFTER: lifter_label(lifter),
        TAG_SOURCE: dataset_label(source),
        TAG_INPUTS: inputs,
        TAG_DSCALE2D: dscale2d,
        TAG_DEPTH: depth_source,
        TAG_SELECTION: selection,
        TAG_ORACLE: ",".join(oracle),
        TAG_ADAPTED: adapted_to,
    } | {protocol_tag(target): protocol for target, protocol in protocols.items()}
    return {name: value for name, value in tags.items() if value}


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
