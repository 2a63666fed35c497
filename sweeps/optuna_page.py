"""A sweep in Optuna's own plots: one page that can be asked with the mouse, and needs no server and no network."""

import warnings
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import optuna
from optuna.trial import TrialState

from dg.files.atomic import write_file
from sweeps.objective import Objective
from sweeps.outcome import LEAST_TRIALS, Outcome, cost_of, importance_evaluator

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

PAGE = "optuna.html"
_HEAD = '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Sweep</title></head><body>'
_MOST_PARAMETERS = 5  # of a contour plot, which has a panel for each pair


def write_optuna_page(study: optuna.Study, outcome: Outcome, path: Path) -> list[Path]:
    """Write a page of a study's course, its parameters and what they decide, by `optuna.visualization`.

    Args:
        study: of Optuna.
        outcome: its trials; at least one is finished.
        path: of the HTML file.

    Returns:
        The file; nothing where Plotly (extra `dashboard`) is not installed.
    """
    if find_spec("plotly") is None:
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some plots are experimental for years
        figures = list(_figures(study, outcome))
    plots = [figure.to_html(full_html=False, include_plotlyjs=not n) for n, figure in enumerate(figures)]
    write_file(path, f"{_HEAD}{''.join(plots)}</body></html>\n")
    return [path]


def _figures(study: optuna.Study, outcome: Outcome) -> "Iterator[Figure]":
    from optuna import visualization

    names, several = outcome.space.names, len(outcome.space.names) > 1
    for number, objective in enumerate(outcome.objectives):
        # With a target Optuna draws no line of the best so far, as it does not know which way is better.
        value = partial(cost_of, number, 1) if outcome.objectives[1:] else None
        named = {"target": value, "target_name": _axis(objective)}
        yield visualization.plot_optimization_history(study, **named)
        yield visualization.plot_slice(study, params=list(names), **named)
        if several and len(outcome.finished) >= LEAST_TRIALS:
            evaluator = importance_evaluator(outcome)
            yield visualization.plot_param_importances(
                study,
                evaluator=evaluator,
                target=partial(cost_of, number, objective.sign),
                target_name=_axis(objective),
            )
        if several:
            yield visualization.plot_parallel_coordinate(study, params=list(names), **named)
            yield visualization.plot_contour(study, params=list(names)[:_MOST_PARAMETERS], **named)
    if len(outcome.objectives) == 2:
        yield visualization.plot_pareto_front(study, target_names=[_axis(o) for o in outcome.objectives])
    elif any(trial.state == TrialState.PRUNED for trial in study.get_trials(deepcopy=False)):
        yield visualization.plot_intermediate_values(study)
    yield visualization.plot_timeline(study)


def _axis(objective: Objective) -> str:
    return f"{objective.name}: {objective.label}"
