"""The response curve of a sweep: MPJPE over the swept parameter, as a table and as a picture.

The panels of the picture share their height in millimetres, so that a flat curve looks flat: where the validation of
the source hardly moves while the targets do, the sweep has not chosen much, and the picture has to say so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from dg.files.atomic import replace_file
from sweeps.objective import Objective
from sweeps.points import Point, best_of, spread

# Okabe and Ito's colours: told apart with any colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
SOURCE_LABEL = "source validation"


@dataclass(frozen=True)
class Series:
    """One curve: whose MPJPE it is, whether the sweep chose by it, and the numbers by point and seed."""

    name: str
    chosen_by: bool
    target: bool
    seeds: tuple[tuple[float, ...], ...]

    @property
    def role(self) -> str:
        """What the numbers were used for: readers of a table or picture must not have to guess."""
        if self.chosen_by:
            return "ORACLE: selected on this target" if self.target else "selected on"
        return "reported, not selected on"

    @property
    def label(self) -> str:
        """For the picture."""
        return f"{self.name}: target (not used)" if self.target and not self.chosen_by else f"{self.name} ({self.role})"


def series_of(points: Sequence[Point], objective: Objective) -> list[Series]:
    """The curve that was selected on first, then the others."""
    source = Series(SOURCE_LABEL, not objective.is_oracle, False, tuple(p.source_val for p in points))
    targets = [
        Series(name, objective.oracle == number, True, tuple(p.targets[name] for p in points))
        for number, name in enumerate(points[0].targets)
    ]
    return sorted([source, *targets], key=lambda s: not s.chosen_by)


def table(points: Sequence[Point], objective: Objective, parameter: str) -> str:
    """A plain table, a row a trial in the order of the parameter; the best row is marked."""
    ordered = _ordered(points, parameter)
    curves = series_of(ordered, objective)
    head = [parameter, "trial", *(f"{c.name} ({c.role})" for c in curves)]
    rows = [
        [f"{value_of(p, parameter):.2f}", str(p.trial), *(spread(c.seeds[i]) for c in curves)]
        for i, p in enumerate(ordered)
    ]
    return columns(head, rows, marked=[ordered.index(best_of(ordered, objective))])


def columns(head: Sequence[str], rows: Sequence[Sequence[str]], marked: Sequence[int] = ()) -> str:
    """Right-aligned columns; a star before the rows whose numbers are marked."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = ["  " + "  ".join(h.rjust(w) for h, w in zip(head, widths, strict=True))]
    for number, row in enumerate(rows):
        mark = "* " if number in marked else "  "
        lines.append(mark + "  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)))
    return "\n".join(lines)


def value_of(point: Point, parameter: str) -> float:
    """The parameter of a point, where it is a number."""
    return float(point.params[parameter])


def _ordered(points: Sequence[Point], parameter: str) -> list[Point]:
    return sorted(points, key=lambda p: (value_of(p, parameter), p.trial))


def verdict(points: Sequence[Point], objective: Objective, parameter: str) -> str:
    """How far the choice can be trusted: what the parameter does beside what the seeds do."""
    if len(points) < 2:
        return "one trial: there is nothing to compare it with"
    means = [p.means[0] for p in points]
    said = f"{objective.name} moves by {max(means) - min(means):.1f} mm over {parameter}"
    if len(points[0].objectives[0]) < 2:
        return f"{said}; with one seed it is unknown how much of that is chance: seeds=[0,1,2] tells"
    chance = chance_of([p.objectives[0] for p in points])
    said = f"{said}; seeds alone would make it move as much with probability {chance:.2g}"
    return said if chance < 0.05 else f"{said}: call the curve flat and its minimum chance"


def chance_of(scores: Sequence[Sequence[float]]) -> float:
    """p-value of the F-test that rows (values of the parameter) do not differ, columns being the same seeds each.

    The seeds are blocks: a seed that is better everywhere says nothing about the parameter.
    """
    import numpy as np
    from scipy.stats import f

    x = np.asarray(scores)
    values, seeds = x.shape
    by_value, by_seed = x.mean(1, keepdims=True), x.mean(0, keepdims=True)
    effect = seeds * ((by_value - x.mean()) ** 2).sum() / (values - 1)
    noise = ((x - by_value - by_seed + x.mean()) ** 2).sum() / ((values - 1) * (seeds - 1))
    if effect == 0:
        return 1.0
    return float(f.sf(effect / max(noise, 1e-12), values - 1, (values - 1) * (seeds - 1)))


def draw(points: Sequence[Point], objective: Objective, parameter: str, unit: str, path: Path) -> Path:
    """Write the response curve as a PNG: a panel a curve, every seed as a dot, the chosen value as a line."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    ordered = _ordered(points, parameter)
    curves = series_of(ordered, objective)
    values = [value_of(p, parameter) for p in ordered]
    limits = _limits(curves)
    # No pyplot: a figure of its own leaves the process's backend alone.
    figure = Figure(figsize=(7.0, 1.4 + 1.7 * len(curves)), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(curves), 1, sharex=True, squeeze=False)[:, 0]
    best = value_of(best_of(ordered, objective), parameter)
    for number, (ax, curve) in enumerate(zip(axes, curves, strict=True)):
        colour = COLOURS[number % len(COLOURS)]
        dashed = curve.target and not curve.chosen_by
        ax.plot(values, [fmean(s) for s in curve.seeds], "--" if dashed else "-", color=colour, linewidth=1.8)
        for value, seeds in zip(values, curve.seeds, strict=True):
            ax.plot([value] * len(seeds), seeds, "o", color=colour, markersize=4, alpha=0.6, markeredgewidth=0)
        ax.axvline(best, color="0.6", linewidth=1, zorder=0)
        ax.set_ylim(*limits[number])
        ax.set_title(curve.label, loc="left", fontsize=9, color=colour)
        ax.set_ylabel("MPJPE (mm)", fontsize=8)
        ax.grid(axis="y", color="0.92")
        ax.tick_params(labelsize=8)
        ax.spines[["top", "right"]].set_visible(False)
    axes[-1].set_xlabel(f"{parameter} ({unit})")
    figure.align_ylabels(axes)
    seeds = len(ordered[0].objectives[0])
    what = f"line: mean of {seeds} seeds, dots: each seed" if seeds > 1 else "one seed"
    figure.suptitle(f"{parameter} = {best:.2f} {unit} chosen by {objective.name}; {what}", fontsize=10)
    replace_file(path, lambda file: figure.savefig(file, format="png"))
    return path


def _limits(curves: Sequence[Series]) -> list[tuple[float, float]]:
    """The same height in millimetres for every panel, each around its own middle."""
    lows = [min(min(s) for s in c.seeds) for c in curves]
    highs = [max(max(s) for s in c.seeds) for c in curves]
    half = max(1.0, 0.6 * max(h - lo for h, lo in zip(highs, lows, strict=True)))
    return [((h + lo) / 2 - half, (h + lo) / 2 + half) for h, lo in zip(highs, lows, strict=True)]
