"""Pictures of a search: a response plot a parameter, its course, the Pareto front, the importances."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dg.files.atomic import replace_file
from sweeps.objective import Objective
from sweeps.points import Outcome, Point
from sweeps.response import COLOURS
from sweeps.space import Choice, Parameter, Range

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DOTS: dict[str, Any] = {"markersize": 5, "alpha": 0.75, "markeredgewidth": 0}
BEST: dict[str, Any] = {"marker": "*", "markersize": 14, "markerfacecolor": "none", "markeredgecolor": "0.2"}


def draw_slices(outcome: Outcome, path: Path) -> Path:
    """A panel a parameter and objective: dots are trials (their means over the seeds), bars reach from the best seed to
    the worst, stars are the best; all panels of an objective share its axis, so that what matters little looks flat.
    """
    names, objectives = outcome.space.names, outcome.objectives
    figure = _figure(3.0 * min(len(names), 4) + 0.8, 2.6 * len(objectives) * -(-len(names) // 4) + 0.5)
    rows = -(-len(names) // 4)
    axes = figure.subplots(rows * len(objectives), min(len(names), 4), squeeze=False)
    best = outcome.best()
    for o, objective in enumerate(objectives):
        limits = _limits([v for p in outcome.points for v in p.objectives[o]])
        for n, name in enumerate(names):
            ax = axes[o * rows + n // 4, n % 4]
            places = _places(ax, outcome.space.parameters[name], [p.params[name] for p in outcome.points])
            ax.set_ylim(*limits)
            for place, point in zip(places, outcome.points, strict=True):
                _dot(ax, place, point, o, COLOURS[o])
                if point in best:
                    ax.plot(place, point.means[o], **BEST)
            _dress(ax, name, objective.label if n % 4 == 0 else "", f"by {objective.name}" if n == 0 else "")
    for ax in axes.flat:
        ax.set_visible(ax.has_data())
    return _saved(figure, path, f"{len(outcome.points)} trials; bars: seeds, stars: best, triangles: far off")


def draw_history(outcome: Outcome, path: Path) -> Path:
    """The course of the search: every trial in its order, the best so far as a line. Triangles and crosses at the rim
    are further off; crosses are pruned trials at their last epoch.
    """
    figure = _figure(7.0, 2.7 * len(outcome.objectives) + 0.3)
    axes = figure.subplots(len(outcome.objectives), 1, sharex=True, squeeze=False)[:, 0]
    points = sorted(outcome.points, key=lambda p: p.trial)
    for o, (ax, objective) in enumerate(zip(axes, outcome.objectives, strict=True)):
        ax.set_ylim(*_limits([v for p in points for v in p.objectives[o]]))
        for point in points:
            _dot(ax, point.trial, point, o, COLOURS[o])
        ax.step([p.trial for p in points], _best_so_far([p.means[o] for p in points], objective), where="post",
                color=COLOURS[o], linewidth=1.6, label="best so far")  # fmt: skip
        if outcome.pruned and o == 0:
            ax.plot([t.trial for t in outcome.pruned], [_inside(ax, t.value)[0] for t in outcome.pruned], "x",
                    color="0.4", markersize=6, label="pruned", clip_on=False)  # fmt: skip
        ax.legend(fontsize=8, frameon=False)
        _dress(ax, "trial" if ax is axes[-1] else "", objective.label, f"by {objective.name}")
        ax.xaxis.get_major_locator().set_params(integer=True)
    return _saved(figure, path, "")


def draw_front(outcome: Outcome, path: Path) -> Path:
    """Two objectives against each other: the Pareto front as a line with the trials' numbers."""
    figure = _figure(5.5, 4.2)
    ax = figure.subplots()
    front = outcome.best()
    others = [p for p in outcome.points if p not in front]
    ax.plot([p.means[0] for p in others], [p.means[1] for p in others], "o", color="0.7", label="other trials", **DOTS)
    ax.plot([p.means[0] for p in front], [p.means[1] for p in front], "o-", color=COLOURS[0], label="Pareto front",
            linewidth=1.2, markersize=6)  # fmt: skip
    by_place: dict[tuple[float, ...], list[str]] = {}
    for point in front:
        by_place.setdefault(point.means, []).append(str(point.trial))
    for (x, y), trials in by_place.items():
        ax.annotate(", ".join(trials), (x, y), (4, 4), textcoords="offset points", fontsize=8)
    ax.margins(0.12)
    ax.legend(fontsize=8, frameon=False)
    labels = [f"{o.name}: {o.label}, {'more' if o.maximise else 'less'} is better" for o in outcome.objectives]
    _dress(ax, labels[0], labels[1], "numbers: trials, see best.txt")
    return _saved(figure, path, "")


def draw_importances(shares: Mapping[str, Mapping[str, float]], path: Path) -> Path:
    """A bar a parameter, the longest on top, a panel an objective."""
    names = len(next(iter(shares.values())))
    figure = _figure(6.0, (0.35 * names + 1.0) * len(shares))
    axes = figure.subplots(len(shares), 1, squeeze=False)[:, 0]
    for number, (ax, (objective, by_name)) in enumerate(zip(axes, shares.items(), strict=True)):
        ordered = sorted(by_name.items(), key=lambda item: item[1])
        bars = ax.barh([name for name, _ in ordered], [share for _, share in ordered], color=COLOURS[number])
        ax.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
        ax.set_xlim(0, 1.1)
        _dress(ax, "importance (PED-ANOVA)" if ax is axes[-1] else "", "", f"for {objective}")
        ax.grid(visible=False)
    return _saved(figure, path, "")


def _places(ax: "Axes", parameter: Parameter, values: Sequence[Any]) -> list[float]:
    """Where values stand on the axis, which is made to fit the parameter."""
    if isinstance(parameter, Choice):
        ax.set_xticks(
            range(len(parameter.words)), list(parameter.words), rotation=20 if len(parameter.words) > 3 else 0
        )
        ax.set_xlim(-0.5, len(parameter.words) - 0.5)
        # Beside each other in their order: dots of one word would hide each other.
        return [parameter.words.index(v) + 0.5 * (i / max(1, len(values) - 1) - 0.5) for i, v in enumerate(values)]
    if isinstance(parameter, Range) and parameter.log:
        from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

        ax.set_xscale("log")
        # Matplotlib's own labels overlap where the values span less than a power of ten.
        ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.xaxis.set_minor_formatter(NullFormatter())
    return [float(v) for v in values]


def _dot(ax: "Axes", place: float, point: Point, objective: int, colour: str) -> None:
    """A trial; at the rim as a triangle where it lies outside the panel."""
    seeds = point.objectives[objective]
    ax.plot([place, place], [min(seeds), max(seeds)], "-", color=colour, linewidth=1, alpha=0.4)
    height, marker = _inside(ax, point.means[objective])
    ax.plot(place, height, marker, color=colour, clip_on=False, **DOTS)


def _inside(ax: "Axes", value: float) -> tuple[float, str]:
    low, high = ax.get_ylim()
    marker = "^" if value > high else "v" if value < low else "o"
    return min(max(value, low), high), marker


def _best_so_far(means: Sequence[float], objective: Objective) -> list[float]:
    pick = max if objective.maximise else min
    return [pick(means[: i + 1]) for i in range(len(means))]


def _limits(values: Sequence[float]) -> tuple[float, float]:
    """Room for all but far-off trials, which would press the others flat: no further than 4 times the middle half."""
    import numpy as np

    low, first, last, high = np.percentile(values, [0, 25, 75, 100])
    reach = 4 * max(last - first, 0.05 * (high - low), 1e-6)
    low, high = max(low, first - reach), min(high, last + reach)
    pad = 0.08 * max(high - low, 1e-6)
    return float(low - pad), float(high + pad)


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # No pyplot: a figure of its own leaves the process's backend alone.
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _dress(ax: "Axes", x: str, y: str, title: str) -> None:
    ax.set_xlabel(x, fontsize=9)
    ax.set_ylabel(y, fontsize=9)
    ax.set_title(title, loc="left", fontsize=9)
    ax.tick_params(labelsize=8)
    ax.grid(axis="y", color="0.92")
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)


def _saved(figure: "Figure", path: Path, title: str) -> Path:
    if title:
        figure.suptitle(title, fontsize=10)
    replace_file(path, lambda file: figure.savefig(file, format="png"))
    return path
