"""Pictures of a sweep: response curves, a slice a parameter, its course, the Pareto front.

They show what Optuna's own plots (`sweeps.optuna_page`) do not: every seed, pruned trials, the best line where there
are two objectives; and a trial that is far off does not press the others flat.
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from dg.drawing.figures import canvas, colour, dress, save_png
from sweeps.outcome import FinishedTrial, Outcome
from sweeps.space import Choice, Parameter, Range

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DOTS: dict[str, Any] = {"markersize": 5, "alpha": 0.75, "markeredgewidth": 0}
BEST: dict[str, Any] = {"marker": "*", "markersize": 14, "markerfacecolor": "none", "markeredgecolor": "0.2"}
_ACROSS = 4


def draw_response(
    values: Sequence[float],
    curves: Mapping[str, tuple[Sequence[Sequence[float]], bool]],
    chosen: float,
    x_name: str,
    heading: str,
    path: Path,
) -> Path:
    """MPJPE over one parameter: a panel a curve, every seed as a dot, the chosen value as a line.

    Args:
        values: of the parameter, rising.
        curves: label -> the seeds' MPJPE at each value, millimetres, and whether the line is dashed.
        chosen: value that the sweep has chosen.
        x_name: of the parameter with its unit.
        heading: above the panels.
        path: of the PNG file.
    """
    figure = canvas(7.0, 1.4 + 1.7 * len(curves), heading)
    axes = figure.subplots(len(curves), 1, sharex=True, squeeze=False)[:, 0]
    # The same height in millimetres for every panel, each around its own middle: a flat curve looks flat.
    ends = [(min(map(min, seeds)), max(map(max, seeds))) for seeds, _ in curves.values()]
    half = max(1.0, 0.6 * max(high - low for low, high in ends))
    for number, (ax, (label, (by_value, dashed))) in enumerate(zip(axes, curves.items(), strict=True)):
        ax.plot(values, [fmean(s) for s in by_value], "--" if dashed else "-", color=colour(number), linewidth=1.8)
        for value, seeds in zip(values, by_value, strict=True):
            ax.plot([value] * len(seeds), seeds, "o", color=colour(number), **(DOTS | {"markersize": 4}))
        ax.axvline(chosen, color="0.6", linewidth=1, zorder=0)
        ax.set_ylim(sum(ends[number]) / 2 - half, sum(ends[number]) / 2 + half)
        dress(ax, label, x_name if ax is axes[-1] else "", "MPJPE (mm)", loc="left", color=colour(number))
    figure.align_ylabels(axes)
    return save_png(figure, path)


def draw_slices(outcome: Outcome, path: Path) -> Path:
    """A panel a parameter and objective: dots are trials (their means over the seeds), bars reach from the best seed to
    the worst, stars are the best; all panels of an objective share its axis, so that what matters little looks flat.
    """
    names, objectives, best = outcome.space.names, outcome.objectives, outcome.best()
    across, rows = min(len(names), _ACROSS), -(-len(names) // _ACROSS)
    heading = f"{len(outcome.finished)} trials; bars: seeds, stars: best, triangles: far off"
    figure = canvas(3.0 * across + 0.8, 2.6 * len(objectives) * rows + 0.5, heading)
    axes = figure.subplots(rows * len(objectives), across, squeeze=False)
    for o, objective in enumerate(objectives):
        limits = _limits([v for trial in outcome.finished for v in trial.objectives[o]])
        for n, name in enumerate(names):
            ax = axes[o * rows + n // _ACROSS, n % _ACROSS]
            places = _places(ax, outcome.space.parameters[name], [trial.params[name] for trial in outcome.finished])
            ax.set_ylim(*limits)
            for place, trial in zip(places, outcome.finished, strict=True):
                _dot(ax, place, trial, o)
                if trial in best:
                    ax.plot(place, trial.means[o], **BEST)
            dress(ax, "" if n else f"by {objective.name}", name, "" if n % _ACROSS else objective.label, loc="left")
    for ax in axes.flat:
        ax.set_visible(ax.has_data())
    return save_png(figure, path)


def draw_history(outcome: Outcome, path: Path) -> Path:
    """The course of the search: every trial in its order, the best so far as a line. Triangles and crosses at the rim
    are further off; crosses are pruned trials at their last epoch.
    """
    figure = canvas(7.0, 2.7 * len(outcome.objectives) + 0.3)
    axes = figure.subplots(len(outcome.objectives), 1, sharex=True, squeeze=False)[:, 0]
    finished = sorted(outcome.finished, key=lambda trial: trial.trial)
    for o, (ax, objective) in enumerate(zip(axes, outcome.objectives, strict=True)):
        ax.set_ylim(*_limits([v for trial in finished for v in trial.objectives[o]]))
        for trial in finished:
            _dot(ax, trial.trial, trial, o)
        so_far = list(accumulate((t.means[o] for t in finished), max if objective.maximise else min))
        ax.step([t.trial for t in finished], so_far, where="post", color=colour(o), linewidth=1.6, label="best so far")
        if outcome.pruned and o == 0:
            ax.plot([t.trial for t in outcome.pruned], [_inside(ax, t.value)[0] for t in outcome.pruned], "x",
                    color="0.4", markersize=6, label="pruned", clip_on=False)  # fmt: skip
        ax.legend(fontsize=8, frameon=False)
        dress(ax, f"by {objective.name}", "trial" if ax is axes[-1] else "", objective.label, loc="left")
        ax.xaxis.get_major_locator().set_params(integer=True)
    return save_png(figure, path)


def draw_front(outcome: Outcome, path: Path) -> Path:
    """Two objectives against each other: the Pareto front as a line with the trials' numbers."""
    figure = canvas(5.5, 4.2)
    ax, front = figure.subplots(), outcome.best()
    others = [trial.means for trial in outcome.finished if trial not in front]
    ax.plot([m[0] for m in others], [m[1] for m in others], "o", color="0.7", label="other trials", **DOTS)
    ax.plot([t.means[0] for t in front], [t.means[1] for t in front], "o-", color=colour(0), label="Pareto front",
            linewidth=1.2, markersize=6)  # fmt: skip
    for x, y in {trial.means for trial in front}:
        numbers = ", ".join(str(trial.trial) for trial in front if trial.means == (x, y))
        ax.annotate(numbers, (x, y), (4, 4), textcoords="offset points", fontsize=8)
    ax.margins(0.12)
    ax.legend(fontsize=8, frameon=False)
    x_name, y_name = (f"{o.name}: {o.label}, {'more' if o.maximise else 'less'} is better" for o in outcome.objectives)
    dress(ax, "numbers: trials, see best.txt", x_name, y_name, loc="left")
    return save_png(figure, path)


def _places(ax: "Axes", parameter: Parameter, values: Sequence[Any]) -> list[float]:
    """Where values stand on the axis, which is made to fit the parameter."""
    if isinstance(parameter, Choice):
        words = list(parameter.words)
        ax.set_xticks(range(len(words)), words, rotation=20 if len(words) > 3 else 0)
        ax.set_xlim(-0.5, len(words) - 0.5)
        # Side by side in their order: dots of one word would hide each other.
        return [words.index(v) + 0.5 * (i / max(1, len(values) - 1) - 0.5) for i, v in enumerate(values)]
    if isinstance(parameter, Range) and parameter.log:
        from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

        ax.set_xscale("log")
        # Matplotlib's own labels overlap where the values span less than a power of ten.
        ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.xaxis.set_minor_formatter(NullFormatter())
    return [float(v) for v in values]


def _dot(ax: "Axes", place: float, trial: FinishedTrial, objective: int) -> None:
    """A trial; at the rim as a triangle where it lies outside the panel."""
    seeds = trial.objectives[objective]
    ax.plot([place, place], [min(seeds), max(seeds)], "-", color=colour(objective), linewidth=1, alpha=0.4)
    height, marker = _inside(ax, trial.means[objective])
    ax.plot(place, height, marker, color=colour(objective), clip_on=False, **DOTS)


def _inside(ax: "Axes", value: float) -> tuple[float, str]:
    low, high = ax.get_ylim()
    marker = "^" if value > high else "v" if value < low else "o"
    return min(max(value, low), high), marker


def _limits(values: Sequence[float]) -> tuple[float, float]:
    """Room for all but far-off trials, which would press the others flat: no further than 4 times the middle half."""
    import numpy as np

    low, first, last, high = np.percentile(values, [0, 25, 75, 100])
    reach = 4 * max(last - first, 0.05 * (high - low), 1e-6)
    low, high = max(low, first - reach), min(high, last + reach)
    pad = 0.08 * max(high - low, 1e-6)
    return float(low - pad), float(high + pad)
