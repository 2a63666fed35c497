"""How results move with the window's length and the reference depth, where runs differ in that alone."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from dg.compare.results import RunResult
from dg.compare.settings import RunsOptions
from dg.compare.tables import without_depth
from dg.tracking.labels import dataset_label, lifter_label, method_label

# Parameter -> what the axis is called. The lifters' own names of it are no further difference between runs.
RESPONSES = {"frames": "frames in the window", "d_ref": "reference depth d_ref (m)"}
_TWINS = {"frames": ("lifter.frames", "lifter.widths"), "d_ref": ()}
SOURCE = "source validation"
_DEFAULTS = {"frames": "1"}
Curves = dict[str, dict[str, dict[float, list[float]]]]  # target -> line -> value of the parameter -> seeds' results


def responses_of(results: Sequence[RunResult], parameter: str) -> Curves:
    """Return the response curves over one parameter.

    A line holds runs that are alike in all but the parameter and their seed; lines of one value alone are left out.

    Args:
        results: all of one selection and metric.
        parameter: one of `RESPONSES`.

    Returns:
        Target -> line -> value of the parameter -> results of the seeds; empty where nothing varies.
    """
    places: dict[tuple[str, str], dict[RunKey, dict[float, list[float]]]] = {}
    for run in results:
        value = _number(run.params.get(parameter, _DEFAULTS.get(parameter, "")))
        if value is None or (parameter == "d_ref" and run.dscale2d == "off"):
            continue
        for target, result in run.values.items():
            lines = places.setdefault((target, without_depth(run.protocols[target])), {})
            lines.setdefault(_key_of(run, parameter), defaultdict(list))[value].append(result)
    kept = {
        place: {key: line for key, line in lines.items() if len(line) > 1}  # a point is no curve
        for place, lines in places.items()
    }
    names = _names({key for lines in kept.values() for key in lines})
    heads = _heads([place for place, lines in kept.items() if lines])
    return {
        heads[place]: {names[key]: dict(line) for key, line in lines.items()} for place, lines in kept.items() if lines
    }


def with_source(result: RunResult, summary: Mapping[str, Any], options: RunsOptions) -> RunResult:
    """Return a result that holds source validation as a target, as far as the run's curves tell it.

    Args:
        result: of the run.
        summary: of the run, with its curves by epoch, MPJPE in mm.
        options: what is compared.
    """
    by_epoch = [point["val"] for point in summary.get("curves", ()) if "val" in point]
    if options.metric != "mpjpe_mm" or options.selection not in ("source_val", "last") or not by_epoch:
        return result
    value = min(by_epoch) if options.selection == "source_val" else by_epoch[-1]
    values, protocols = {SOURCE: value, **result.values}, {SOURCE: "", **result.protocols}
    return replace(result, values=values, protocols=protocols)


RunKey = tuple[tuple[str, str], ...]  # what runs of one line share


def _key_of(run: RunResult, parameter: str) -> RunKey:
    shared = {**run.budget, **run.settings}
    shared = {k: v for k, v in shared.items() if k != parameter and k not in _TWINS[parameter]}
    labels = {
        "method": method_label(run.method),
        "input": run.input_label,
        "lifter": lifter_label(run.lifter),
        "adapted to": run.adapted_to,
    }
    return tuple(sorted((labels | shared).items()))


def _names(keys: Iterable[RunKey]) -> dict[RunKey, str]:
    """A name for each line: its method and inputs, and whatever else tells it from the other lines."""
    found = [dict(key) for key in keys]
    differing = {k for own in found for k in own if len({other.get(k, "") for other in found}) > 1}
    return {tuple(sorted(own.items())): _name(own, differing) for own in found}


def _name(own: Mapping[str, str], differing: set[str]) -> str:
    more = sorted(differing - {"method", "input", "lifter", "adapted to"})
    words = [own["method"], own["input"]]
    words += [own[k] for k in ("lifter", "adapted to") if k in differing]
    return " · ".join([*filter(None, words), *(f"{k}={own.get(k, '-')}" for k in more)])


def _heads(places: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """The target's label, with its protocol where one target has several."""
    targets = [target for target, _ in places]
    return {
        (target, protocol): dataset_label(target) + (f" ({protocol})" if targets.count(target) > 1 else "")
        for target, protocol in places
    }


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
