import json
import os
import signal
import subprocess
import sys

import pytest

from dg.grid.child_run import read_with_train
from sweeps import session
from sweeps.options import ReferenceDepthOptions
from sweeps.reference_depth import main
from tests.fake_commands import QUICK, command, wait_for


def test_help_loads_nothing_heavy():
    code = (
        "import sys, sweeps.reference_depth as r; code = r.main(['--help']); "
        "heavy = {'torch', 'ray', 'mlflow', 'optuna', 'matplotlib', 'hydra'} & set(sys.modules); "
        "sys.exit(f'{heavy}' if heavy else code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "objective=source_val" in done.stdout
    assert "d_ref" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trails=3"], "did you mean 'trials'"),
        (["trials=many"], "trials expects a whole number"),
        (["trials=0"], "trials must be positive"),
        (["trials=-2"], "trials must be positive"),
        (["trials"], "expected key=value"),
        (["concurrency=0"], "concurrency must be at least 1"),
        (["service=on"], "service must be one of"),
        (["objective=source_val:pck150"], "one of MPJPE"),
        (["d_ref=4.5"], "d_ref cannot be set here"),
        (["seed=1"], "seeds=[0,1,2]"),
        (["resume=auto"], "same command again"),
        (["tracking.parent_run_id=x"], "parent run"),
        (["seeds=[0,0]"], "seeds must be some and differ"),
        (["seeds=[]"], "seeds must be some and differ"),
        (["seeds=[0,x]"], "seeds expects a whole number"),
        (["study=../../x"], "study must be a name"),
        (["study="], "study must be a name"),
        (["objective=near"], "only under the name 'oracle'"),
        (["objective=synthetic:near"], "only under the name 'oracle'"),
        (["objective=oracle:mars"], "possible: ['oracle:synthetic:near', 'oracle:synthetic:wide']"),
        (["inputs=xy"], "d_ref changes nothing"),
        (["dscale2d=off"], "d_ref changes nothing"),
        (["epochs=none"], "epochs"),
        (["method=poseug"], "did you mean 'poseaug'"),
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


def test_the_sweeps_words_and_the_trainers_are_told_apart():
    args = ["trials=3", "method=erm", "seeds=[1,2]", "out=x", "render.actors=3", "data.root=d"]
    options, shared = read_with_train(ReferenceDepthOptions, args, {})
    assert options == ReferenceDepthOptions(trials=3, seeds=(1, 2), out="x")
    assert shared == ["method=erm", "render.actors=3", "data.root=d"]


def test_every_problem_is_collected(capsys):
    assert main(["trials=0", "seeds=[1,1]", "study=a/b", "service=on", "seed=3"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 5


def test_an_oracle_says_so_before_anything_runs(capsys, monkeypatch):
    seen = {}
    monkeypatch.setattr(session, "run", lambda program, make_plan, args: seen.update(plan=make_plan()) or 0)
    assert main(["objective=oracle:near"]) == 0
    assert seen["plan"].by == "oracle:near"
    assert seen["plan"].name == "reference_depth-oracle-near"
    assert "ORACLE" in capsys.readouterr().out


def test_a_sweep_ends_with_table_picture_and_the_command_of_the_best(fake_train, capsys):
    assert main([*QUICK, "trials=4", "seeds=[0,2]", "concurrency=2"]) == 0
    out = capsys.readouterr().out
    assert "source validation (selected on)" in out
    assert "synthetic_near (reported, not selected on)" in out
    assert "61.0 ± 1.4" in out
    assert "tracking.uri=off pool=local method=erm device=cpu d_ref=4.5 seed=0" in out
    folder = fake_train / "runs/reference_depth"
    assert (folder / "response.png").read_bytes().startswith(b"\x89PNG")
    assert "± " in (folder / "response.txt").read_text()
    assert len(list(folder.glob("trial-*/seed-*/summary.json"))) == 8

    assert main([*QUICK, "trials=4", "seeds=[0,2]"]) == 0
    assert "4 finished trials kept" in capsys.readouterr().out
    assert all(p.read_text() == "x" for p in folder.glob("trial-*/seed-*/starts")), "nothing ran twice"


def test_an_oracle_sweep_chooses_on_the_target_and_says_so_everywhere(fake_train, capsys):
    assert main([*QUICK, "trials=6", "objective=oracle:near"]) == 0
    out = capsys.readouterr().out
    assert "synthetic_near (ORACLE: selected on this target)" in out
    assert "d_ref=5.5" in out
    assert "say so wherever you report it" in out
    assert (fake_train / "runs/reference_depth-oracle-near/response.txt").exists()


def test_a_wrong_path_costs_one_run_and_is_mended_under_the_same_name(fake_train, capsys, monkeypatch):
    monkeypatch.setenv("FAKE_TRAIN", "exit4")
    assert main([*QUICK, "trials=3", "epochs=3"]) == 4
    assert "error: the data is gone" in capsys.readouterr().err
    assert len(list(fake_train.glob("runs/reference_depth/trial-*"))) == 1
    monkeypatch.setenv("FAKE_TRAIN", "fine")
    assert main([*QUICK, "trials=1", "epochs=4"]) == 0
    assert main([*QUICK, "trials=1", "epochs=5"]) == 2
    assert "epochs: 4 then, 5 now" in capsys.readouterr().err
    assert main([*QUICK, "trials=1", "epochs=4", "out=elsewhere"]) == 2


def test_two_drivers_never_work_on_one_study(fake_train, capsys):
    from filelock import FileLock

    from dg.grid.driver import LOCK

    (fake_train / "sweep").mkdir()
    with FileLock(fake_train / "sweep" / LOCK):
        assert main([*QUICK, "out=sweep"]) == 3
    assert "another driver" in capsys.readouterr().err


@pytest.mark.reliability
def test_ctrl_c_checkpoints_the_trial_and_the_same_command_goes_on(fake_train, monkeypatch, capsys):
    words = command("sweeps.reference_depth", *QUICK, "trials=1")
    sweep = {"env": os.environ | {"FAKE_TRAIN": "hang"}, "text": True, "stdout": subprocess.PIPE}
    with subprocess.Popen(words, **sweep) as driver:
        run = fake_train / "runs/reference_depth/trial-0/seed-0"
        wait_for(run / "ready")
        driver.send_signal(signal.SIGINT)
        out = driver.communicate(timeout=600)[0]
    assert driver.returncode == 130
    assert "resume with\n  dg sweep reference_depth tracking.uri=off" in out
    assert (run / "checkpoint").exists()
    monkeypatch.setenv("FAKE_TRAIN", "hang")
    assert main([*QUICK, "trials=1"]) == 0
    assert "(retry of trial 0)" in capsys.readouterr().out
    assert (run / "starts").read_text() == "xx"


TINY = [
    "method=erm", "pool=local", "inputs=xyd", "epochs=2", "max_steps=4", "batch_size=64", "threads=1", "device=cpu",
]  # fmt: skip


@pytest.mark.slow
def test_two_anchors_end_to_end_then_again(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = [*TINY, "trials=2", "out=sweep"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "dg train" in out
    assert (tmp_path / "sweep" / "response.png").stat().st_size > 10_000
    first, second = (json.loads((tmp_path / f"sweep/trial-{n}/seed-0/summary.json").read_text()) for n in (0, 1))
    assert (first["d_ref"], second["d_ref"]) == (3.5, 4.0)
    assert first["ledger"]["done"] > 0
    assert second["ledger"]["done"] == 0, "rendered depth is shared by the trials"

    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("dg").experiment_id])
    parents = [r for r in runs if "mlflow.parentRunId" not in r.data.tags]
    assert len(parents) == 1
    assert {r.info.status for r in runs} == {"FINISHED"}
    children = [r for r in runs if r.data.tags.get("mlflow.parentRunId") == parents[0].info.run_id]
    assert sorted(r.data.tags["optuna.trial_number"] for r in children) == ["0", "1"]
    assert {r.data.tags["optuna.state"] for r in children} == {"COMPLETE"}
    assert {a.path for a in client.list_artifacts(parents[0].info.run_id)} == {
        "response.png",
        "response.txt",
        "history.png",
        "best.txt",
        "study.db",
        "optuna.html",
        "report.html",
    }
    parent, page = parents[0].data, (tmp_path / "sweep" / "report.html").read_text()
    errors = [r.data.metrics["target/synthetic_near/mpjpe_mm"] for r in children]
    assert min(errors) <= parent.metrics["target_mean/synthetic_near/mpjpe_mm"] <= max(errors)
    assert parent.metrics["target/synthetic_near/mpjpe_mm"] == pytest.approx(min(errors), abs=max(errors) - min(errors))
    assert (parent.tags["method"], parent.tags["source"]) == ("ERM", "synthetic")
    assert parent.tags["mlflow.source.name"] == "dg sweep"
    assert all(r.info.run_id in parent.tags["mlflow.note.content"] for r in children), "links to the trials"
    assert "Response to reference depth d_ref (m)" in page

    assert main(words) == 0
    assert "2 finished trials kept" in capsys.readouterr().out
    assert len(client.search_runs([parents[0].info.experiment_id])) == 3
