"""What a sweep's parent run shows, and Optuna's own plots of it."""

import re
from dataclasses import replace

import optuna
import pytest

from dg.settings.config import TrainConfig
from sweeps import reporter
from sweeps.objective import Objective
from sweeps.options import SearchOptions, SweepPlan
from sweeps.optuna_page import write_optuna_page
from sweeps.outcome import FinishedTrial, Outcome
from sweeps.parent_record import describe, row_tags, target_figures
from sweeps.search import main
from sweeps.space import Choice, Range, Space
from tests.fake_commands import QUICK

SPACE = Space({"lr": Range(1e-4, 1e-1, log=True), "method": Choice(("erm", "poseaug"))})
SECONDS = Objective("seconds", None, "seconds")


def study_of(objectives, trials=8):
    study = optuna.create_study(directions=["minimize"] * len(objectives), sampler=optuna.samplers.RandomSampler(0))

    def run(trial):
        lr, method = trial.suggest_float("lr", 1e-4, 1e-1, log=True), trial.suggest_categorical("method", ["erm", "b"])
        trial.report(99.0, 1) if len(objectives) == 1 else None
        if trial.number == trials:
            raise optuna.TrialPruned
        return [60 + 100 * lr + (method == "erm"), 3.0 / lr][: len(objectives)]

    study.optimize(run, n_trials=trials + 1)
    finished = [
        FinishedTrial(t.params, t.number, tuple((v,) for v in t.values), (t.values[0],), {"near": (90.0 + t.number,)})
        for t in study.trials
        if t.values and t.state.name == "COMPLETE"
    ]
    return study, Outcome(SPACE, objectives, finished)


def titles_in(page):
    return re.findall(r'"title":\{"text":"([^"]*(?:Plot|History|Importances)[^"]*)"', page)


@pytest.mark.parametrize("objectives", [(Objective(),), (Objective(), SECONDS)])
def test_optunas_plots_stand_on_one_page_that_asks_for_nothing(objectives, tmp_path):
    pytest.importorskip("plotly", reason="extra dashboard")
    study, outcome = study_of(objectives)
    (file,) = write_optuna_page(study, outcome, tmp_path / "optuna.html")
    page = file.read_text()
    titles = titles_in(page)
    each = ["History", "Slice", "Importances", "Parallel", "Contour"]
    for word in each:
        assert sum(word in title for title in titles) == len(objectives), (word, titles)
    assert any("Pareto" in title for title in titles) == (len(objectives) == 2)
    assert any("Intermediate" in title for title in titles) == (len(objectives) == 1), "there is a pruned trial"
    assert '"source_val: MPJPE (mm)"' in page
    assert ('"name":"Best Value"' in page) == (len(objectives) == 1)
    assert page.count("plotly.js v") == 1, "the library stands in it once"
    assert not re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="http', page)


def test_one_parameter_and_one_trial_make_a_page_too(tmp_path):
    pytest.importorskip("plotly", reason="extra dashboard")
    study = optuna.create_study()
    study.optimize(lambda trial: trial.suggest_float("d_ref", 3.5, 6.0), n_trials=1)
    (trial,) = study.trials
    finished = [FinishedTrial(trial.params, 0, ((trial.value,),), (1.0,), {})]
    (file,) = write_optuna_page(
        study, Outcome(Space({"d_ref": Range(3.5, 6.0)}), (Objective(),), finished), tmp_path / "o.html"
    )
    assert titles_in(file.read_text()) == ["Optimization History Plot", "Slice Plot", "Timeline Plot"]


def test_the_parents_results_are_the_best_trials_and_the_mean_of_all():
    seeds = {"near": (80.0, 90.0)}
    finished = [
        FinishedTrial({}, 0, ((60.0,),), (60.0,), seeds),
        FinishedTrial({}, 1, ((50.0,),), (50.0,), {"near": (70.0, 72.0)}),
    ]
    figures = target_figures(Outcome(SPACE, (Objective(),), finished))
    assert figures == {"target/near/mpjpe_mm": 71.0, "target_mean/near/mpjpe_mm": 78.0}


def test_the_parents_row_and_description_say_what_is_searched(tmp_path):
    config = TrainConfig(data={"name": "h36m", "label": "cmu"}, method={"name": "erm"})
    options = SearchOptions(storage="postgresql://me:secret@host/studies")
    plan = SweepPlan(options, (), config, (Objective(),), SPACE, lambda *_: ("", []), None)
    assert row_tags(plan) == {"method": "ERM, PoseAug", "source": "CMU"}
    only_lr = replace(plan, space=Space({"lr": SPACE.parameters["lr"]}))
    assert row_tags(only_lr)["method"] == "ERM"
    said = describe(plan, "dg train lr=0.1\n", [tmp_path / "optuna.html"], [("trial-0", "#/experiments/1/runs/ab")])
    assert "[trial-0](#/experiments/1/runs/ab)" in said
    assert "`optuna.html`" in said
    assert "secret" not in said


def test_a_page_that_cannot_be_made_costs_the_sweep_nothing_else(fake_train, monkeypatch, capsys):
    def broken(*_):
        raise ValueError("no such plot\nat all")

    monkeypatch.setattr(reporter, "write_optuna_page", broken)
    assert main([*QUICK, "space.lr=log:1e-4..1e-1", "trials=1", "pruner=off"]) == 0
    assert "pages of the sweep could not be made: ValueError: no such plot\n" in capsys.readouterr().out
    assert "dg train" in (fake_train / "runs/search/best.txt").read_text()
    assert not list(fake_train.glob("runs/search/*.html"))
