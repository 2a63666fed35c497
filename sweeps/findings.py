"""What a sweep has found, as files: tables, pictures and command lines."""

import shlex
from pathlib import Path
from statistics import fmean

import optuna

from dg.files.atomic import replace_file
from sweeps.importances import LEAST_TRIALS, importances_of
from sweeps.objective import Objective
from sweeps.pictures import draw_front, draw_history, draw_importances, draw_slices
from sweeps.plan import SweepPlan
from sweeps.points import Outcome, Point, spread
from sweeps.response import columns, draw, table, verdict
from sweeps.space import words_of

ORACLE_NOTE = "ORACLE: chosen on a target; say so wherever you report it"


def reference_depth_report(study: optuna.Study, outcome: Outcome, folder: Path) -> tuple[str, list[Path]]:
    """The response curve over d_ref with all seeds, and how the search went."""
    (objective,), points, (name,) = outcome.objectives, outcome.points, outcome.space.names
    text = f"{table(points, objective, name)}\n{verdict(points, objective, name)}\n"
    files = [_written(folder / "response.txt", text), draw(points, objective, name, "m", folder / "response.png")]
    return text, [*files, draw_history(outcome, folder / "history.png")]


def search_report(study: optuna.Study, outcome: Outcome, folder: Path) -> tuple[str, list[Path]]:
    """The table of trials, a response plot a parameter, importances, how the search went, and of two objectives the
    Pareto front.
    """
    text = trials_table(outcome)
    files = [_written(folder / "trials.txt", text), draw_slices(outcome, folder / "slices.png")]
    files.append(draw_history(outcome, folder / "history.png"))
    if len(outcome.objectives) == 2:
        files.append(draw_front(outcome, folder / "pareto.png"))
    if len(outcome.space.names) > 1:
        if len(outcome.points) < LEAST_TRIALS:
            return f"{text}importances need {LEAST_TRIALS} finished trials\n", files
        shares = importances_of(study, outcome)
        said = importances_table(shares, outcome)
        files += [_written(folder / "importances.txt", said), draw_importances(shares, folder / "importances.png")]
        text = f"{text}\n{said}"
    return text, files


def trials_table(outcome: Outcome) -> str:
    """A row a finished trial, the best first; then what was pruned. A star marks the best, or the Pareto front."""
    objectives, best = outcome.objectives, [p.trial for p in outcome.best()]
    ordered = sorted(outcome.points, key=lambda p: (p.trial not in best, _cost(p, objectives[0]), p.trial))
    chosen = {(o.oracle, o.figure) for o in objectives}
    targets = [(i, n) for i, n in enumerate(ordered[0].targets) if (i, "mpjpe_mm") not in chosen]
    beside = (None, "mpjpe_mm") not in chosen
    head = ["trial", *outcome.space.names, *(f"{o.name} ({o.unit}, {_role(o)})" for o in objectives)]
    head += ["source_val (mm, reported)"] if beside else []
    head += [*(f"{name} (mm, reported)" for _, name in targets), "seconds", "waiting"]
    rows = []
    for point in ordered:
        row = [str(point.trial), *(_short(point.params[n]) for n in outcome.space.names)]
        row += [spread(values) for values in point.objectives]
        row += [spread(point.source_val)] if beside else []
        row += [spread(point.targets[name]) for _, name in targets]
        rows.append([*row, f"{point.seconds:.0f}", f"{point.waiting:.0%}"])
    lines = [columns(head, rows, marked=[i for i, p in enumerate(ordered) if p.trial in best])]
    for trial in outcome.pruned:
        settings = " ".join(f"{name}={_short(value)}" for name, value in trial.params.items())
        lines.append(f"  pruned: trial {trial.trial} at epoch {trial.epoch} with {trial.value:.1f}: {settings}")
    return "\n".join(lines) + "\n"


def importances_table(shares: dict[str, dict[str, float]], outcome: Outcome) -> str:
    """A row a parameter: the share of being among the best that it explains, for each objective."""
    names = sorted(outcome.space.names, key=lambda n: -fmean(by_name[n] for by_name in shares.values()))
    rows = [[name, *(f"{by_name[name]:.2f}" for by_name in shares.values())] for name in names]
    head = ["importance", *(f"for {objective}" for objective in shares)]
    note = f"PED-ANOVA over {len(outcome.points)} finished trials: what sets the best of them apart from the others"
    return f"{columns(head, rows)}\n  {note}\n"


def command_lines(outcome: Outcome, sweep: SweepPlan) -> str:
    """The best trial's `python -m dg.train ...`, or that of each point of the Pareto front, with its scores."""
    lines = [f"# {ORACLE_NOTE}"] if sweep.is_oracle else []
    seeds = list(sweep.options.seeds)
    for point in outcome.best():
        pairs = zip(outcome.objectives, point.objectives, strict=True)
        scores = ", ".join(f"{o.name} {spread(values)} {o.unit}" for o, values in pairs)
        lines.append(f"# study {sweep.name}, trial {point.trial}, seeds {seeds}: {scores}")
        words = [*sweep.shared, *words_of(point.params), f"seed={seeds[0]}"]
        lines.append(f"python -m dg.train {' '.join(map(shlex.quote, words))}")
    return "\n".join(lines) + "\n"


def _cost(point: Point, objective: Objective) -> float:
    return -point.means[0] if objective.maximise else point.means[0]


def _role(objective: Objective) -> str:
    return "ORACLE: selected on this target" if objective.is_oracle else "selected on"


def _short(value: float | int | str) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _written(path: Path, text: str) -> Path:
    replace_file(path, lambda file: file.write(text.encode()))
    return path
