"""What a sweep has found, as files: tables, pictures and command lines."""

import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import optuna
from pandas import DataFrame

from dg.compare.sheets import spread
from dg.files.atomic import write_files
from sweeps.objective import Objective
from sweeps.options import SweepPlan
from sweeps.outcome import LEAST_TRIALS, FinishedTrial, Outcome, best_of, importances_of
from sweeps.pictures import draw_front, draw_history, draw_response, draw_slices
from sweeps.space import args_of

ORACLE_NOTE = "ORACLE: chosen on a target; say so wherever you report it"
SOURCE_LABEL = "source validation"


def reference_depth_report(study: optuna.Study, outcome: Outcome, folder: Path) -> tuple[str, list[Path]]:
    """Write the response curve over d_ref with all seeds, and the course of the search.

    Args:
        study: of Optuna.
        outcome: its trials.
        folder: where the files go.

    Returns:
        The text to print, and the files.
    """
    (objective,), (name,) = outcome.objectives, outcome.space.names
    ordered = sorted(outcome.finished, key=lambda trial: (float(trial.params[name]), trial.trial))
    text = f"{response_table(ordered, objective, name)}\n{verdict(ordered, objective, name)}\n"
    files = write_files(folder, {"response.txt": text})
    files.append(draw_curve(ordered, objective, name, "m", folder / "response.png"))
    return text, [*files, draw_history(outcome, folder / "history.png")]


def search_report(study: optuna.Study, outcome: Outcome, folder: Path) -> tuple[str, list[Path]]:
    """Write the table of trials, a response plot for each parameter, importances and the course of the search.

    Two objectives also get a plot of the Pareto front. Pictures of the importances are Optuna's (`optuna_page`).

    Args:
        study: of Optuna.
        outcome: its trials.
        folder: where the files go.

    Returns:
        The text to print, and the files.
    """
    text = trials_table(outcome)
    files = write_files(folder, {"trials.txt": text})
    files += [draw_slices(outcome, folder / "slices.png"), draw_history(outcome, folder / "history.png")]
    if len(outcome.objectives) == 2:
        files.append(draw_front(outcome, folder / "pareto.png"))
    if len(outcome.space.names) > 1:
        if len(outcome.finished) < LEAST_TRIALS:
            return f"{text}importances need {LEAST_TRIALS} finished trials\n", files
        shares = importances_of(study, outcome)
        said = importances_table(shares, outcome)
        files += write_files(folder, {"importances.txt": said})
        text = f"{text}\n{said}"
    return text, files


def columns(rows: Sequence[Mapping[str, str]], marked: Collection[int] = ()) -> str:
    """Right-aligned columns; a star before the rows whose numbers are marked."""
    return DataFrame(rows, index=["*" if number in marked else "" for number in range(len(rows))]).to_string()


def trials_table(outcome: Outcome) -> str:
    """A row a finished trial, the best first; then what was pruned. A star marks the best, or the Pareto front."""
    objectives, best = outcome.objectives, [p.trial for p in outcome.best()]
    ordered = sorted(outcome.finished, key=lambda t: (t.trial not in best, objectives[0].sign * t.means[0], t.trial))
    chosen = {(o.oracle, o.figure) for o in objectives}
    rows = []
    for trial in ordered:
        row = {"trial": str(trial.trial)} | {name: _short(trial.params[name]) for name in outcome.space.names}
        for objective, values in zip(objectives, trial.objectives, strict=True):
            role = "ORACLE: selected on this target" if objective.is_oracle else "selected on"
            row[f"{objective.name} ({objective.unit}, {role})"] = spread(values)
        if (None, "mpjpe_mm") not in chosen:
            row["source_val (mm, reported)"] = spread(trial.source_val)
        for number, (name, values) in enumerate(trial.targets.items()):
            if (number, "mpjpe_mm") not in chosen:
                row[f"{name} (mm, reported)"] = spread(values)
        rows.append(row | {"seconds": f"{trial.seconds:.0f}", "waiting": f"{trial.waiting:.0%}"})
    lines = [columns(rows, marked=range(len(best)))]
    for trial in outcome.pruned:
        settings = " ".join(f"{name}={_short(value)}" for name, value in trial.params.items())
        lines.append(f"  pruned: trial {trial.trial} at epoch {trial.epoch} with {trial.value:.1f}: {settings}")
    return "\n".join(lines) + "\n"


def importances_table(shares: Mapping[str, Mapping[str, float]], outcome: Outcome) -> str:
    """A row a parameter: the share of being among the best that it explains, for each objective."""
    names = sorted(outcome.space.names, key=lambda name: -fmean(by_name[name] for by_name in shares.values()))
    rows = [{"importance": n} | {f"for {o}": f"{by_name[n]:.2f}" for o, by_name in shares.items()} for n in names]
    note = f"PED-ANOVA over {len(outcome.finished)} finished trials: what sets the best of them apart from the others"
    return f"{columns(rows)}\n  {note}\n"


def command_lines(outcome: Outcome, sweep: SweepPlan) -> str:
    """The best trial's `dg train ...`, or that of each trial of the Pareto front, with its scores."""
    lines = [f"# {ORACLE_NOTE}"] if sweep.is_oracle else []
    seeds = list(sweep.options.seeds)
    for trial in outcome.best():
        pairs = zip(outcome.objectives, trial.objectives, strict=True)
        scores = ", ".join(f"{o.name} {spread(values)} {o.unit}" for o, values in pairs)
        lines.append(f"# study {sweep.name}, trial {trial.trial}, seeds {seeds}: {scores}")
        args = [*sweep.shared, *args_of(trial.params), f"seed={seeds[0]}"]
        lines.append(f"dg train {' '.join(map(shlex.quote, args))}")
    return "\n".join(lines) + "\n"


def _short(value: float | int | str) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


# -- the response curve over one parameter ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Series:
    """One curve: whose MPJPE it is, whether the sweep chose by it, and the numbers by trial and seed."""

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


def series_of(finished: Sequence[FinishedTrial], objective: Objective) -> list[Series]:
    """The curve that was selected on first, then the others."""
    source = Series(SOURCE_LABEL, not objective.is_oracle, False, tuple(trial.source_val for trial in finished))
    targets = [
        Series(name, objective.oracle == number, True, tuple(trial.targets[name] for trial in finished))
        for number, name in enumerate(finished[0].targets)
    ]
    return sorted([source, *targets], key=lambda s: not s.chosen_by)


def response_table(ordered: Sequence[FinishedTrial], objective: Objective, parameter: str) -> str:
    """A row a trial in the order of the parameter; the best row is marked."""
    curves = series_of(ordered, objective)
    rows = [
        {parameter: f"{float(trial.params[parameter]):.2f}", "trial": str(trial.trial)}
        | {f"{curve.name} ({curve.role})": spread(curve.seeds[number]) for curve in curves}
        for number, trial in enumerate(ordered)
    ]
    return columns(rows, marked=[ordered.index(best_of(ordered, objective))])


def draw_curve(ordered: Sequence[FinishedTrial], objective: Objective, parameter: str, unit: str, path: Path) -> Path:
    """The response curve as a PNG file."""
    curves = {c.label: (c.seeds, c.target and not c.chosen_by) for c in series_of(ordered, objective)}
    values, best = [float(trial.params[parameter]) for trial in ordered], best_of(ordered, objective)
    seeds = len(ordered[0].objectives[0])
    what = f"line: mean of {seeds} seeds, dots: each seed" if seeds > 1 else "one seed"
    chosen = float(best.params[parameter])
    heading = f"{parameter} = {chosen:.2f} {unit} chosen by {objective.name}; {what}"
    return draw_response(values, curves, chosen, f"{parameter} ({unit})", heading, path)


def verdict(finished: Sequence[FinishedTrial], objective: Objective, parameter: str) -> str:
    """How far the choice can be trusted: what the parameter does beside what the seeds do."""
    if len(finished) < 2:
        return "one trial: there is nothing to compare it with"
    means = [trial.means[0] for trial in finished]
    said = f"{objective.name} moves by {max(means) - min(means):.1f} mm over {parameter}"
    if len(finished[0].objectives[0]) < 2:
        return f"{said}; with one seed it is unknown how much of that is chance: seeds=[0,1,2] tells"
    chance = chance_of([trial.objectives[0] for trial in finished])
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
