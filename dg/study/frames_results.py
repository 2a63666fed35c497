"""What the runs of the study `frames` found: its lines, and what depth changes in them."""

from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from dg.compare.sheets import Sheet
from dg.compare.stored_runs import read_results
from dg.study.lines import Line, Point, protocols, table, twins
from dg.tracking.names import HIGHER_IS_BETTER

if TYPE_CHECKING:
    from mlflow.entities import Run

BLIND = "xy"
IN_DOMAIN = " (in domain)"


def points_of(runs: "Sequence[Run]", metric: str, selection: str, in_domain: str) -> list[Point]:
    """The results of MLflow's runs, newer runs last. in_domain: the target of the source's domain."""
    points = []
    for run in sorted(read_results(runs, selection, metric)[0], key=lambda r: (r.input_label, r.started)):
        labels = {"method": run.method, "lifter": run.lifter, "input": run.input_label}
        frames = int(run.params["frames"])
        for target, error in sorted(run.values.items()):
            shown = target + IN_DOMAIN if target == in_domain else target
            points.append(Point({"target": shown, **labels}, run.protocols[target], frames, run.seed, error))
    return points


def in_domain_first(lines: Sequence[Line]) -> list[Line]:
    return sorted(lines, key=lambda line: (not _is_in_domain(line), line.labels["target"]))


def tables(lines: Sequence[Line], metric: str, title: str) -> list[Sheet]:
    """The errors, and what depth changes in them."""
    better = "higher" if metric in HIGHER_IS_BETTER else "lower"
    errors = table(title, lines, [f"mean ± standard deviation (seeds), {better} is better", *protocols(lines)])
    changes = depth_changes(lines)
    if not changes:
        return [errors]
    notes = ["of the means over the seeds; depth is drawn from the ground truth (an oracle)"]
    heading = f"Change of {metric} by depth, in percent of {BLIND}'s"
    return [errors, table(heading, changes, notes, lambda values: f"{values[0]:+.1f}" if values else "-")]


def depth_changes(lines: Sequence[Line]) -> list[Line]:
    """By how many percent depth changes the mean error on each target, and the mean of that over those across domains.

    Empty without lines that differ in depth alone.
    """
    changes = [
        Line(seeing.labels, seeing.protocol, _change(seeing, blind)) for seeing, blind in twins(lines, "input", BLIND)
    ]
    across: dict[tuple[str, ...], list[Line]] = defaultdict(list)
    for line in changes:
        if not _is_in_domain(line):
            across[tuple(v for k, v in line.labels.items() if k != "target")].append(line)
    return changes + [_mean_over_targets(group) for group in across.values() if len(group) > 1]


def _is_in_domain(line: Line) -> bool:
    return line.labels["target"].endswith(IN_DOMAIN)


def _change(seeing: Line, blind: Line) -> dict[int, dict[str, float]]:
    return {t: {"": 100 * (fmean(seeing.at(t)) / fmean(blind.at(t)) - 1)} for t in seeing.values if blind.at(t)}


def _mean_over_targets(group: Sequence[Line]) -> Line:
    """At those lengths that every target has."""
    common = set.intersection(*(set(line.values) for line in group))
    labels = {**group[0].labels, "target": "mean across domains"}
    return Line(labels, "", {t: {"": fmean(line.values[t][""] for line in group)} for t in common})
