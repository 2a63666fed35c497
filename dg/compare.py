"""`python -m dg.compare [key=value ...]`: DG methods side by side, from their runs in MLflow.

Rows are method x input x lifter, columns are targets under one protocol, cells mean and standard deviation over seeds.

options (key=default):
  experiment=dg             MLflow experiment
  tracking_uri=             MLflow store; empty: MLFLOW_TRACKING_URI, else sqlite:///mlflow.db
  selection=source_val      last | source_val | oracle (best by the target itself: no fair result)
  metric=mpjpe_mm           mpjpe_mm | pa_mpjpe_mm | n_mpjpe_mm | pck150 | auc
  regime=all                DG | DA | all (never in one table)
  format=markdown           markdown | csv | latex
  out=                      file to write; empty: print

exit codes: 0 done, 2 wrong option, 4 nothing to compare
"""

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dg.comparison import RunResult, build_tables
from dg.comparison_text import FORMATS
from dg.plugins import OptionError, suggest
from dg.tracking import TrackingError, tracking_uri
from dg.tracking.names import (
    ACTION_METRICS,
    METRICS,
    NO_DEPTH,
    PARAM_SEED,
    REGIMES,
    SELECTIONS,
    TAG_DEPTH,
    TAG_DSCALE2D,
    TAG_INPUTS,
    TAG_LIFTER,
    TAG_METHOD,
    TAG_ORACLE,
    TAG_REGIME,
    TAG_SWEEP,
    parse_final_metric,
    protocol_tag,
)
from dg.tracking.stores import OFF, client_of, sqlite_file

if TYPE_CHECKING:
    from mlflow.entities import Run

WRONG_OPTION, NO_DATA = 2, 4


class NothingToCompareError(ValueError):
    """No run that could be shown. Exit code 4."""


@dataclass(frozen=True)
class CompareOptions:
    """What the command line sets."""

    experiment: str = "dg"
    tracking_uri: str = ""
    selection: str = "source_val"
    metric: str = "mpjpe_mm"
    regime: str = "all"
    format: str = "markdown"
    out: str = ""


_CHOICES = {
    "selection": SELECTIONS,
    "metric": METRICS + ACTION_METRICS,
    "regime": (*REGIMES, "all"),
    "format": tuple(FORMATS),
}
_SAME_AS = {"tracking.uri": "tracking_uri", "tracking.experiment": "experiment"}  # as `dg.train` calls them


def parse_options(arguments: Sequence[str]) -> CompareOptions:
    """Raises OptionError, with every problem, for keys and values that do not exist."""
    known = [f.name for f in fields(CompareOptions)]
    given, problems = {}, []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        key = _SAME_AS.get(key, key)
        if not equals:
            problems.append(f"expected key=value, got {argument!r}")
        elif key not in known:
            problems.append(f"unknown option {key!r}; known: {known}{suggest(key, known)}")
        elif value not in _CHOICES.get(key, (value,)):
            problems.append(
                f"{key} must be one of {list(_CHOICES[key])}, got {value!r}{suggest(value, list(_CHOICES[key]))}"
            )
        given[key] = value
    if problems:
        raise OptionError("\n".join(problems))
    return CompareOptions(**given)


def compare(options: CompareOptions) -> str:
    """The tables as text. Raises NothingToCompareError when no finished run has such a result."""
    runs = _runs(tracking_uri(options.tracking_uri), options.experiment)
    left_out: Counter[str] = Counter()
    results = []
    for run in runs:
        reason = _unfit(run, options)
        if reason:
            left_out[reason] += 1
        else:
            results.append(read_result(run, options))
    if not results:
        raise NothingToCompareError(
            f"no finished run of experiment {options.experiment!r} has {options.metric} for selection="
            f"{options.selection} regime={options.regime}; {_spell(left_out) or 'it holds no run at all'}. "
            "Train some: python -m dg.train method=erm seed=0"
        )
    text = FORMATS[options.format](build_tables(results, options.selection, options.metric))
    if options.format == "markdown":
        text += "\nCells: mean ± standard deviation (seeds).\n"
        text += f"Left out: {_spell(left_out)}.\n" if left_out else ""
    return text


def read_result(run: "Run", options: CompareOptions) -> RunResult:
    """What a run says about itself; its parameters stand in for tags that it lacks."""
    tags, params = run.data.tags, run.data.params
    inputs = tags.get(TAG_INPUTS) or params.get("inputs", "?")
    dscale2d = tags.get(TAG_DSCALE2D) or params.get("dscale2d", "off")
    blind = inputs == "xy" and dscale2d == "off"
    values = _values(run, options)
    return RunResult(
        method=tags.get(TAG_METHOD) or params.get("method.name", "?"),
        regime=tags.get(TAG_REGIME, "DG"),
        lifter=tags.get(TAG_LIFTER) or params.get("lifter.name", "?"),
        inputs=inputs,
        dscale2d=dscale2d,
        depth=NO_DEPTH if blind else tags.get(TAG_DEPTH) or params.get("depth.name", "?"),
        seed=params.get(PARAM_SEED, "?"),
        started=run.info.start_time,
        params=params,
        values=values,
        protocols={target: tags[protocol_tag(target)] for target in values},
        oracle=tags.get(TAG_ORACLE, ""),
    )


def _values(run: "Run", options: CompareOptions) -> dict[str, float]:
    """Target -> value, for the targets whose protocol is known."""
    values = {}
    for name, value in run.data.metrics.items():
        parsed = parse_final_metric(name)
        if parsed and (parsed[0], parsed[2]) == (options.selection, options.metric):
            values[parsed[1]] = value
    return {target: value for target, value in values.items() if protocol_tag(target) in run.data.tags}


def _unfit(run: "Run", options: CompareOptions) -> str:
    """Why a run is not shown; empty when it is."""
    if TAG_SWEEP in run.data.tags:
        return "sweep trials"
    if run.info.status != "FINISHED":
        return f"{run.info.status.lower()} runs"
    if options.regime != "all" and run.data.tags.get(TAG_REGIME, "DG") != options.regime:
        return "runs of the other regime"
    return "" if _values(run, options) else "runs without such results or their protocol"


def _runs(uri: str, experiment: str) -> "list[Run]":
    file = sqlite_file(uri)
    if uri in OFF or (file is not None and not file.is_file()):
        raise NothingToCompareError(
            f"no MLflow database at {file or uri}; train first (python -m dg.train), or name another: "
            "tracking_uri=sqlite:///FILE | tracking_uri=http://HOST:5000"
        )
    client = client_of(uri)
    found = client.get_experiment_by_name(experiment)
    if found is None:
        names = [e.name for e in client.search_experiments()]
        raise NothingToCompareError(
            f"no experiment {experiment!r} in {uri}; it has {names}{suggest(experiment, names)}"
        )
    runs: list[Any] = []
    token: str | None = ""
    while token is not None:
        page = client.search_runs([found.experiment_id], max_results=1000, page_token=token or None)
        runs += page
        token = page.token or None
    return runs


def _spell(left_out: Counter[str]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in sorted(left_out.items()))


def main(arguments: Sequence[str]) -> int:
    """Print or write the tables; returns the exit code."""
    if any(a in ("-h", "--help", "help") for a in arguments):
        print(__doc__)
        return 0
    try:
        options = parse_options(arguments)
        text = compare(options)
    except (OptionError, TrackingError) as problem:
        print(problem, file=sys.stderr)
        return WRONG_OPTION
    except NothingToCompareError as problem:
        print(problem, file=sys.stderr)
        return NO_DATA
    if not options.out:
        print(text, end="")
        return 0
    path = Path(options.out)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_text(text)
    fresh.replace(path)
    print(f"written to {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
