"""Runs as MLflow keeps them, read back as results."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from dg.compare.made_of import PREFIX
from dg.compare.results import RunResult
from dg.files.plain_text import MAX_CELL, one_line
from dg.settings.errors import DATA
from dg.settings.plugins import suggest
from dg.tracking import TrackingError, tracking_uri
from dg.tracking.names import (
    NO_DEPTH,
    PARAM_SEED,
    TAG_ADAPTED,
    TAG_DEPTH,
    TAG_DSCALE2D,
    TAG_INPUTS,
    TAG_LIFTER,
    TAG_METHOD,
    TAG_ORACLE,
    TAG_RECIPE,
    TAG_REGIME,
    TAG_SWEEP,
    parse_final_metric,
    protocol_tag,
)
from dg.tracking.stores import OFF, client_of, sqlite_file

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


class NothingToCompareError(ValueError):
    """No run that could be shown. Exit code 4."""

    exit_code = DATA


def stored_runs(uri: str, experiment: str, parent: str = "") -> "list[Run]":
    """Return every run of an experiment, or those that one run started.

    Args:
        uri: tracking store.
        experiment: name of the MLflow experiment.
        parent: id of the run whose child runs are wanted; empty for all runs.

    Raises:
        NothingToCompareError: there is no such store, experiment or child run.
        TrackingError: a wrong uri, or a store that cannot be read.
    """
    uri = tracking_uri(uri)
    file = sqlite_file(uri)
    if uri in OFF or (file is not None and not file.is_file()):
        raise NothingToCompareError(
            f"no MLflow database at {file or uri}; train first (dg train), or name another: "
            "tracking_uri=sqlite:///FILE | tracking_uri=http://HOST:5000"
        )
    try:
        runs = _all_runs(client_of(uri), uri, experiment, parent)
    except NothingToCompareError:
        raise
    except Exception as error:  # MLflow, its database driver or the network
        what = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise TrackingError(
            f"cannot read the tracking store {uri}: {what}; name an MLflow database or server: tracking_uri="
            "sqlite:///FILE | tracking_uri=http://HOST:5000"
        ) from error
    if parent and not runs:
        raise NothingToCompareError(
            f"no run of experiment {experiment!r} was started by the run {parent!r}; give a grid's run id "
            "(its MLflow page shows it), or leave parent= out"
        )
    return runs


def _all_runs(client: "MlflowClient", uri: str, experiment: str, parent: str) -> "list[Run]":
    found = client.get_experiment_by_name(experiment)
    if found is None:
        names = [e.name for e in client.search_experiments()]
        raise NothingToCompareError(
            f"no experiment {experiment!r} in {uri}; it has {names}{suggest(experiment, names)}"
        )
    if not re.fullmatch(r"[\w-]*", parent):  # no run id: MLflow's query language would stumble over it
        return []
    query = f"tags.`mlflow.parentRunId` = '{parent}'" if parent else ""
    runs: list[Any] = []
    token: str | None = ""
    while token is not None:
        page = client.search_runs([found.experiment_id], query, max_results=1000, page_token=token or None)
        runs += page
        token = page.token or None
    return runs


def read_results(
    runs: "Iterable[Run]", selection: str, metric: str, regime: str = "all"
) -> tuple[list[RunResult], Counter[str]]:
    """Read the runs that have a result of one selection and metric.

    Args:
        runs: as MLflow keeps them.
        selection: one of `SELECTIONS`.
        metric: such as `mpjpe_mm`.
        regime: `DG`, `DA`, or `all`.

    Returns:
        The results, and for the other runs how many were left out for which reason.
    """
    results, left_out = [], Counter()
    for run in runs:
        values = _values(run, selection, metric)
        endless = [target for target, value in values.items() if not math.isfinite(value)]
        values = {target: value for target, value in values.items() if target not in endless}
        if endless:
            left_out["results that are no finite number"] += len(endless)
            if not values:
                continue
        reason = _unfit(run, values, regime)
        if reason:
            left_out[reason] += 1
        else:
            results.append(_read(run, values))
    return results, left_out


def spell_left_out(left_out: Counter[str]) -> str:
    """Return the counts of runs that were left out, by reason, as one line of text."""
    return ", ".join(f"{count} {reason}" for reason, count in sorted(left_out.items()))


def _read(run: "Run", values: Mapping[str, float]) -> RunResult:
    """What a run says about itself; its parameters stand in for tags that it lacks."""
    tags, params = _plain(run.data.tags), _renamed(_plain(run.data.params))
    inputs = tags.get(TAG_INPUTS) or params.get("inputs", "?")
    dscale2d = tags.get(TAG_DSCALE2D) or params.get("dscale2d", "off")
    blind = inputs == "xy" and dscale2d == "off"
    regime = tags.get(TAG_REGIME, "DG")
    return RunResult(
        method=tags.get(TAG_METHOD) or params.get("method.name", "?"),
        regime=regime,
        lifter=tags.get(TAG_LIFTER) or params.get("lifter.name", "?"),
        inputs=inputs,
        dscale2d=dscale2d,
        depth=NO_DEPTH if blind else tags.get(TAG_DEPTH) or params.get("depth.name", "?"),
        seed=params.get(PARAM_SEED, "?"),
        started=run.info.start_time,
        params=params,
        values=values,
        protocols={target: tags[one_line(protocol_tag(target))] for target in values},
        oracle=tags.get(TAG_ORACLE, ""),
        adapted_to=(tags.get(TAG_ADAPTED) or "not stated") if regime == "DA" else "",
        made_of=_made_of(run.data.metrics),
        recipe=tags.get(TAG_RECIPE, ""),
    )


def _made_of(metrics: Mapping[str, float]) -> dict[str, float]:
    found = {name.removeprefix(PREFIX): value for name, value in metrics.items() if name.startswith(PREFIX)}
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _renamed(params: dict[str, str]) -> dict[str, str]:
    """Parameters under today's names: `training` was `recipe` in runs of earlier versions."""
    return {"training" if name == "recipe" else name: value for name, value in params.items()}


def _plain(texts: Mapping[str, str]) -> dict[str, str]:
    """Anybody may have written them: they stay on their line."""
    return {one_line(name): one_line(text, limit=MAX_CELL) for name, text in texts.items()}


def _values(run: "Run", selection: str, metric: str) -> dict[str, float]:
    """Target -> value, for the targets whose protocol is known."""
    values = {}
    for name, value in run.data.metrics.items():
        parsed = parse_final_metric(name)
        if parsed and (parsed[0], parsed[2]) == (selection, metric):
            values[parsed[1]] = value
    return {target: value for target, value in values.items() if protocol_tag(target) in run.data.tags}


def _unfit(run: "Run", values: Mapping[str, float], regime: str) -> str:
    """Why a run is not shown; empty when it is."""
    if TAG_SWEEP in run.data.tags:
        return "sweep trials"
    if run.info.status != "FINISHED":
        return f"{run.info.status.lower()} runs"
    if regime != "all" and run.data.tags.get(TAG_REGIME, "DG") != regime:
        return "runs of the other regime"
    return "" if values else "runs without such results or their protocol"
