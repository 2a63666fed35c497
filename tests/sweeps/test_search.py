import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import optuna
import psutil
import pytest
from optuna.trial import TrialState

from sweeps import session
from sweeps.search import main
from tests.fake_commands import QUICK, command, wait_for
from tests.pictures import shows_something

LR = "space.lr=log:1e-4..1e-1"
D_REF = "space.d_ref=3.5..6.0"


@contextmanager
def killed_at_the_end(words):
    driver = subprocess.Popen(words)
    try:
        yield driver
    finally:
        driver.kill()
        driver.wait()


def trials(folder, name="search"):
    return optuna.load_study(study_name=name, storage=f"sqlite:///{folder}/study.db").get_trials()


def test_help_loads_nothing_heavy():
    code = (
        "import sys, sweeps.search as s; code = s.main(['--help']); "
        "heavy = {'torch', 'ray', 'mlflow', 'optuna', 'matplotlib', 'hydra'} & set(sys.modules); "
        "sys.exit(f'{heavy}' if heavy else code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for key in ("space.lr=log:", "objectives=", "pruner=", "concurrency=", "service=", "storage="):
        assert key in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "nothing to search"),
        (["space.lrr=1e-4..1e-2"], "did you mean 'lr'"),
        (["space.lr=1e-4"], "expected LOW..HIGH"),
        ([LR, "lr=0.1"], "lr is searched"),
        ([LR, "trails=3"], "did you mean 'trials'"),
        ([LR, "trials=0"], "trials must be positive"),
        ([LR, "seed=1"], "seeds=[0,1,2]"),
        ([LR, "render.service=x"], "service=off"),
        ([LR, "objectives=near"], "only under the name 'oracle'"),
        ([LR, "objectives=[source_val,synthetic:near]"], "only under the name 'oracle'"),
        ([LR, "objectives=[source_val,source_val]"], "one or two that differ"),
        ([LR, "objectives=[source_val,seconds,oracle:near]"], "one or two that differ"),
        ([LR, "pruner=best"], "pruner must be one of"),
        ([LR, "pruner=median", "objectives=[source_val,seconds]"], "two objectives are not ordered"),
        ([LR, "pruner=hyperband", "objectives=seconds"], "known only at the end"),
        (["space.render.actors=1..4"], "nothing depends on render.actors"),
        ([D_REF, "inputs=xy"], "nothing depends on d_ref"),
        ([LR, "tracking.uri=file:x"], "tracking.uri"),
    ],
)
def test_wrong_words_are_one_message_exit_code_2_and_no_study(words, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert said in error
    assert "Traceback" not in error
    assert not list(tmp_path.iterdir())


def test_a_search_leaves_table_pictures_and_the_command_of_the_best(fake_train, capsys, pictures):
    words = [*QUICK[:2], LR, D_REF, "space.method=erm|poseaug", "trials=6", "concurrency=2", "seeds=[0,2]"]
    assert main([*words, "pruner=off"]) == 0
    out = capsys.readouterr().out
    here = fake_train / "runs/search"
    best = min((t for t in trials(fake_train)), key=lambda t: t.values[0])
    said = (here / "best.txt").read_text()
    assert f"trial {best.number}, seeds [0, 2]" in said
    assert f"method={best.params['method']} seed=0" in said
    assert said in out
    assert "ORACLE" not in said
    assert all(shows_something(here / picture) for picture in ("slices.png", "history.png"))
    shares = [float(line.split()[1]) for line in (here / "importances.txt").read_text().splitlines()[1:4]]
    assert abs(sum(shares) - 1) < 0.02
    rows = (here / "trials.txt").read_text().splitlines()
    assert len(rows) == 7
    assert rows[1].startswith("*")
    assert "synthetic_near (mm, reported)" in rows[0]
    assert "25%" in rows[1]

    assert main([*words, "pruner=off"]) == 0
    assert "6 finished trials kept" in capsys.readouterr().out
    assert all(p.read_text() == "x" for p in here.glob("trial-*/seed-*/starts")), "nothing ran twice"
    assert main([*words[:3], "trials=6", "seeds=[0,2]"]) == 2
    assert "space.d_ref: 3.5..6.0 then, None now" in capsys.readouterr().err


def test_two_objectives_give_a_pareto_table_with_a_command_each_and_an_oracle_says_so(fake_train, capsys, pictures):
    assert main([*QUICK, D_REF, "objectives=[oracle:near,seconds]", "trials=7"]) == 0
    here = fake_train / "runs/search-oracle-near"
    said = (here / "best.txt").read_text()
    assert said.startswith("# ORACLE")
    assert "pruner off" in capsys.readouterr().out
    assert shows_something(here / "pareto.png")
    front = [line for line in (here / "trials.txt").read_text().splitlines() if line.startswith("*")]
    assert len(front) == said.count("dg train")
    seconds, near = zip(*[(t.values[1], t.values[0]) for t in trials(fake_train, "search-oracle-near")], strict=True)
    ends = [f"{min(seconds):.1f}", f"{min(near):.1f}"]
    assert all(any(end in line for line in front) for end in ends), "both ends of the front are on it"


def test_a_figure_that_should_be_high_is_maximised(fake_train):
    assert main([*QUICK, LR, "objectives=source_val:pck150", "trials=5", "pruner=off"]) == 0
    best = max(trials(fake_train), key=lambda t: t.values[0])
    assert f"trial {best.number}," in (fake_train / "runs/search/best.txt").read_text()


@pytest.mark.long
def test_a_bad_trial_is_pruned_by_its_first_seed_and_not_tried_again(fake_train, monkeypatch, capsys):
    monkeypatch.setenv("FAKE_EPOCH_S", "0.05")
    monkeypatch.setenv("FAKE_TRAIN", "linger")
    good = [{"lr": lr} for lr in (1e-3, 1.2e-3, 0.8e-3, 1.1e-3)]
    bad = [{"lr": 0.09}]
    queued = session.open_study

    def with_anchors(name, storage, space, *more):
        object.__setattr__(space, "anchors", (*good, *bad))
        return queued(name, storage, space, *more)

    monkeypatch.setattr(session, "open_study", with_anchors)
    words = [*QUICK, LR, "trials=5", "seeds=[0,1]", "prune_after=2", "epochs=8"]
    assert main(words) == 0
    out = capsys.readouterr().out
    states = {round(t.params["lr"], 5): t for t in trials(fake_train)}
    assert states[0.09].state == TrialState.PRUNED
    assert [t.state for t in states.values()].count(TrialState.COMPLETE) == 4
    run = fake_train / "runs/search" / states[0.09].user_attrs["folder"]
    assert (run / "seed-0/checkpoint").exists(), "it was asked to stop, not killed"
    assert not (run / "seed-1").exists()
    assert "pruned at epoch" in out
    assert "pruned: trial" in (fake_train / "runs/search/trials.txt").read_text()

    assert main(words) == 0
    assert "pruned trials kept" in capsys.readouterr().out
    assert (run / "seed-0/starts").read_text() == "x"


def test_the_space_of_a_study_stays_even_where_all_its_trials_have_failed(fake_train, monkeypatch, capsys):
    monkeypatch.setenv("FAKE_TRAIN", "exit4")
    assert main([*QUICK[:2], "space.method=erm|poseaug", LR, "trials=2"]) == 4
    assert main([*QUICK[:2], "space.method=erm|random_rigid", LR, "trials=2"]) == 2
    assert "space.method: erm|poseaug then, erm|random_rigid now" in capsys.readouterr().err
    monkeypatch.setenv("FAKE_TRAIN", "fine")
    assert main([*QUICK[:2], "space.method=erm|poseaug", LR, "trials=2", "epochs=4"]) == 0


def test_settings_that_do_not_go_together_cost_one_trial_and_no_run(fake_train, capsys):
    space = ["space.render.resolution=64|128", "space.render.subject_span_px=32|100"]
    assert main([*QUICK, *space, "trials=6"]) == 0
    failed = [t for t in trials(fake_train) if t.state == TrialState.FAIL]
    assert failed
    assert all("subject_span_px" in t.user_attrs["error"] for t in failed)
    assert not any((fake_train / "runs/search" / t.user_attrs["folder"]).exists() for t in failed)
    assert len(trials(fake_train)) == 6


@pytest.mark.reliability
def test_after_sigkill_of_the_driver_no_trial_is_lost_and_nothing_goes_on(fake_train, monkeypatch):
    from mlflow import MlflowClient

    monkeypatch.setenv("FAKE_EPOCH_S", "1")
    monkeypatch.setenv("FAKE_MLFLOW", "1")
    uri = f"sqlite:///{fake_train}/mlflow.db"
    words = ["pool=local", "method=erm", "device=cpu", f"tracking.uri={uri}", LR, D_REF, "epochs=6"]
    words += ["trials=4", "concurrency=2", "prune_after=1", "cache=off"]
    with killed_at_the_end(command("sweeps.search", *words)):
        folders = [fake_train / f"runs/search/trial-{n}/seed-0" for n in (0, 1)]
        for run in folders:
            wait_for(run / "ready")
        noted = [run / "process.json" for run in folders]
        pids = [json.loads(file.read_text())["pid"] for file in noted if file.exists()]
        assert pids
    if psutil.pid_exists(pids[0]):  # as when the machine goes: this run says nothing to MLflow either
        os.kill(pids[0], signal.SIGKILL)

    monkeypatch.setenv("FAKE_EPOCH_S", "0.1")
    assert main(words) == 0
    assert not any(psutil.pid_exists(pid) for pid in pids)
    ended = [t for t in trials(fake_train) if t.state != TrialState.FAIL]
    assert len(ended) == 4
    assert {t.state for t in ended} <= {TrialState.COMPLETE, TrialState.PRUNED}
    retried = {t.user_attrs.get("retry_of") for t in trials(fake_train)}
    assert {t.number for t in trials(fake_train) if t.state == TrialState.FAIL} <= retried
    client = MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name("dg").experiment_id])
    assert not [r for r in runs if r.info.status == "RUNNING"]
    (parent,) = [r for r in runs if "mlflow.parentRunId" not in r.data.tags]
    assert parent.info.status == "FINISHED"
    children = [r for r in runs if r.info.run_id != parent.info.run_id]
    states = {r.data.tags["optuna.state"] for r in children}
    assert states <= {"COMPLETE", "PRUNED", "FAIL"}
    assert "COMPLETE" in states
    assert {"best.txt", "trials.txt", "slices.png", "history.png", "study.db"} <= {
        a.path for a in client.list_artifacts(parent.info.run_id)
    }
    assert "sweep/render_wait_fraction" in parent.data.metrics


@pytest.mark.slow
def test_a_real_search_prunes_is_killed_and_goes_on(tmp_path, monkeypatch):
    from mlflow import MlflowClient

    monkeypatch.chdir(tmp_path)
    words = ["pool=local", "inputs=xy", "epochs=4", "evaluate_every=1", "batch_size=64", "threads=1", "data.clips=10"]
    words += ["space.method=erm|random_rigid", "space.lr=log:1e-5..1e-2", "trials=6", "concurrency=2", "prune_after=1"]
    with killed_at_the_end([sys.executable, "-m", "sweeps.search", *words]):
        wait_for(tmp_path / "runs/search/trial-1/seed-0/history.json", 300)
    assert main(words) == 0
    ended = [t for t in trials(tmp_path) if t.state != TrialState.FAIL]
    assert len(ended) == 6
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("dg").experiment_id])
    assert not [r for r in runs if r.info.status == "RUNNING"]
    pruned = {t.user_attrs["folder"] + "-seed-0" for t in ended if t.state == TrialState.PRUNED}
    assert {r.data.tags["mlflow.dg.child"] for r in runs if r.data.tags.get("optuna.state") == "PRUNED"} == pruned
