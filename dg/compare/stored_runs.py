"""Runs as MLflow keeps them, read back as results."""

import json
import logging
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from dg.compare.made_of import OLD_PREFIX, PREFIX
from dg.compare.results import RunResult
from dg.files.plain_text import MAX_CELL, one_line
from dg.settings.errors import DATA
from dg.settings.plugins import suggest
from dg.tracking import TrackingError, tracking_uri
from dg.tracking.labels import LIFTERS, METHODS, name_of
from dg.tracking.moved_store import follow_store
from dg.tracking.names import (
    NO_DEPTH,
    PARAM_SEED,
    SELECTIONS_TABLE,
    TAG_ADAPTED,
    TAG_DEPTH,
    TAG_DSCALE2D,
    TAG_INPUTS,
    TAG_LIFTER,
    TAG_METHOD,
    TAG_ORACLE,
    TAG_RECIPE,
    TAG_REGIME,
    TAG_SELECTION,
    TAG_SWEEP,
    metric_name,
    parse_final_metric,
    parse_target_metric,
    protocol_tag,
)
from dg.tracking.stores import OFF, client_of, sqlite_file

_logger = logging.getLogger(__name__)
_NOT_SAID = ("", "None", "[]", "()", "{}")  # parameters that newer versions leave out

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
        follow_store(file)
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


def table_reader(uri: str) -> Callable[["Run"], list[dict[str, Any]]]:
    """Return what reads the table of every selection and metric of a run; no rows where a run has none."""
    client = client_of(tracking_uri(uri))
    return lambda run: _selection_rows(client, run)


def read_results(
    runs: "Iterable[Run]",
    selection: str,
    metric: str,
    regime: str = "all",
    rows_of: Callable[["Run"], list[dict[str, Any]]] = lambda run: [],
    trials: bool = False,
) -> tuple[list[RunResult], Counter[str]]:
    """Read the runs that have a result of one selection and metric.

    Args:
        runs: as MLflow keeps them.
        selection: one of `SELECTIONS`.
        metric: such as `mpjpe_mm`.
        regime: `DG`, `DA`, or `all`.
        rows_of: reads a run's table of selections, for what is not among its metrics.
        trials: whether the trials of sweeps are read too.

    Returns:
        The results, and for the other runs how many were left out for which reason.
    """
    results, left_out = [], Counter()
    for run in runs:
        values = _values(run, selection, metric) or _tabled(run, rows_of, selection, metric)
        endless = [target for target, value in values.items() if not math.isfinite(value)]
        values = {target: value for target, value in values.items() if target not in endless}
        if endless:
            left_out["results that are no finite number"] += len(endless)
            if not values:
                continue
        reason = _unfit(run, values, regime, trials)
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
    tags = _plain(run.data.tags)
    params = {name: value for name, value in _plain(run.data.params).items() if value not in _NOT_SAID}
    # As runs of earlier versions called it.
    params |= {"training": params.pop("recipe")} if "recipe" in params else {}
    params.setdefault("output_init", "original")
    inputs = tags.get(TAG_INPUTS) or params.get("inputs", "?")
    dscale2d = tags.get(TAG_DSCALE2D) or params.get("dscale2d", "off")
    blind = inputs == "xy" and dscale2d == "off"
    regime = tags.get(TAG_REGIME, "DG")
    return RunResult(
        method=params.get("method.name") or name_of(tags.get(TAG_METHOD, "?"), METHODS),
        regime=regime,
        lifter=params.get("lifter.name") or name_of(tags.get(TAG_LIFTER, "?"), LIFTERS),
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
    found = {
        name.removeprefix(prefix): value
        for prefix in (OLD_PREFIX, PREFIX)
        for name, value in metrics.items()
        if name.startswith(prefix)
    }
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _plain(texts: Mapping[str, str]) -> dict[str, str]:
    """Anybody may have written them: they stay on their line."""
    return {one_line(name): one_line(text, limit=MAX_CELL) for name, text in texts.items()}


def _values(run: "Run", selection: str, metric: str) -> dict[str, float]:
    """Target -> value, for the targets whose protocol is known: from the metrics, those of earlier versions too."""
    values = {}
    is_own = run.data.tags.get(TAG_SELECTION) == selection
    for name, value in run.data.metrics.items():
        parsed, old = parse_target_metric(name), parse_final_metric(name)
        if parsed and is_own and parsed[1] == metric:
            values[parsed[0]] = value
        if old and (old[0], old[2]) == (selection, metric):
            values[old[1]] = value
    return {target: value for target, value in values.items() if protocol_tag(target) in run.data.tags}


def _tabled(
    run: "Run", rows_of: Callable[["Run"], list[dict[str, Any]]], selection: str, metric: str
) -> dict[str, float]:
    """Likewise from the table of a finished run that has metrics of another selection, or other metrics of this one."""
    if run.info.status != "FINISHED" or not any(parse_target_metric(name) for name in run.data.metrics):
        return {}
    values = {}
    for row in rows_of(run):
        target, value = metric_name(str(row.get("target", ""))), row.get(metric)
        asked = protocol_tag(target) in run.data.tags and row.get("selection") == selection
        if asked and isinstance(value, int | float):
            values[target] = float(value)
    return values


def _selection_rows(client: "MlflowClient", run: "Run") -> list[dict[str, Any]]:
    """The rows of the table, by column; its file is opened as text and may be anything."""
    if SELECTIONS_TABLE not in run.data.tags.get("mlflow.loggedArtifacts", ""):
        return []
    try:
        with TemporaryDirectory() as folder:
            place = client.download_artifacts(run.info.run_id, SELECTIONS_TABLE, folder)
            table = json.loads(Path(place).read_text())
        return [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    except Exception as error:  # whatever a store, a network or a file of somebody else's does
        _logger.warning("no table of selections of run %s: %s", run.info.run_id, error)
        return []


def _unfit(run: "Run", values: Mapping[str, float], regime: str, trials: bool) -> str:
    """Why a run is not shown; empty when it is."""
    if TAG_SWEEP in run.data.tags and not trials:
        return "sweep trials"
    if run.info.status != "FINISHED":
        return f"{run.info.status.lower()} runs"
    if regime != "all" and run.data.tags.get(TAG_REGIME, "DG") != regime:
        return "runs of the other regime"
    return "" if values else "runs without such results or their protocol"
