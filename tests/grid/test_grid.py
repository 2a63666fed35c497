"""A grid as a whole: small programs in the place of dg.train, and at the end the real one."""

import json
import os
import signal
import subprocess
import sys

import psutil
import pytest

from dg.grid import session
from dg.grid.__main__ import main
from dg.grid.cells import read_grid
from dg.grid.driver import LOCK, Driver
from dg.grid.places import CELL_BYTES, CELLS_PER_GPU, Resources, find_places
from dg.grid.plan import make_plan
from dg.grid.view import CellProgress, Counts, Pace, clock, share_done
from tests.fake_commands import command, wait_for
from tests.in_this_process import InThisProcess
from tests.stores import new_store

FOUR = ["methods=[erm,random_rigid]", "inputs=[xy,xyd]", "tracking.uri=off"]
NAMES = [f"{m}-simple_baseline-{i}-s0" for m in ("erm", "random_rigid") for i in ("xy", "xyd")]


def test_help_loads_nothing_heavy():
    code = (
        "import sys, dg.grid.__main__ as g; code = g.main(['--help']); "
        "heavy = {'torch', 'ray', 'mlflow', 'optuna', 'rich', 'hydra'} & set(sys.modules); "
        "sys.exit(f'{heavy}' if heavy else code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "methods=[]" in done.stdout
    assert "parallel=0" in done.stdout


# -- how many at once -------------------------------------------------------------------------------------------------


def places(*words, asked=0, cores=8.0, memory=float("inf"), gpus=(), inputs="[xy,xyd]"):
    plan = make_plan(*read_grid(["methods=[erm]", f"inputs={inputs}", *words]))
    there = Resources(cores, memory, gpus)
    return find_places([p.config for p in plan.cells], asked, lambda with_gpus: there, lambda address: there)


@pytest.mark.parametrize(
    ("words", "there", "expected"),
    [
        ([], {}, 8),
        (["threads=3"], {}, 2),
        (["threads=16"], {}, 1),
        ([], {"memory": 3.5 * CELL_BYTES}, 3),
        ([], {"memory": 1.0}, 1),
        ([], {"cores": 64, "gpus": ("0", "1")}, 2 * CELLS_PER_GPU),
        ([], {"asked": 5}, 5),
        (["pool=ray", "render.actors=2"], {}, 2),  # a trainer and two render actors each
        (["address=a:1", "render.actors=7"], {"cores": 40}, 5),
        (["address=a:1", "render.actors=7"], {"cores": 40, "inputs": "[xy]"}, 40),  # nothing to render
        (["address=a:1", "render.gpus_per_actor=0.5", "device=cuda"], {"cores": 96, "gpus": ("0", "1", "2", "3")}, 2),
        (["address=a:1", "device=cpu", "render.actors=2"], {"cores": 96, "gpus": ("0",)}, 32),
    ],
)
def test_as_many_at_once_as_the_machine_or_the_cluster_carries(words, there, expected):
    assert places(*words, **there).parallel == expected


def test_cells_at_once_are_spread_over_the_gpus():
    found = places("threads=2", gpus=("3", "5"))
    assert [found.environment(n)["CUDA_VISIBLE_DEVICES"] for n in range(4)] == ["3", "5", "3", "5"]
    assert found.environment(0)["OMP_NUM_THREADS"] == "2"
    assert "CUDA_VISIBLE_DEVICES" not in places().environment(0)


# -- the driver -------------------------------------------------------------------------------------------------------


class Looks:
    """A child that ends after so many looks, or when it is stopped; `stubborn`, only at once."""

    def __init__(self, looks, code=0, stubborn=False):
        self.looks, self.code, self.stubborn, self.stops = looks, code, stubborn, []

    def poll(self):
        self.looks -= 1
        return self.code if self.looks <= 0 else None

    def stop(self, at_once=False):
        self.stops.append(at_once)
        if at_once or not self.stubborn:
            self.looks, self.code = 0, 130


def drive(children, parallel, on_tick=lambda driver: None):
    seen, most = [], []
    waiting = list(range(len(children)))
    driver = Driver(
        take=lambda: waiting.pop(0) if waiting else None,
        start=lambda item, place: seen.append(("start", item, place)) or children[item],
        ended=lambda running, code: seen.append(("end", running.item, code)),
        tick=lambda: (most.append(len(driver.running)), on_tick(driver)),
        parallel=parallel,
        poll_s=0.0,
    )
    return driver.run(), seen, max(most)


def test_the_driver_keeps_its_places_full_and_a_failure_ends_nothing_else():
    done, seen, most = drive([Looks(1), Looks(5, code=1), Looks(1), Looks(2)], parallel=2)
    assert done
    assert most <= 2
    assert seen[:2] == [("start", 0, 0), ("start", 1, 1)]
    assert ("start", 2, 0) in seen, "the free place is taken"
    assert {(i, c) for what, i, c in seen if what == "end"} == {(0, 0), (1, 1), (2, 0), (3, 0)}


def test_a_stop_asks_the_running_once_starts_nothing_more_and_waits():
    children = [Looks(99), Looks(99), Looks(99)]
    done, seen, _ = drive(children, 2, lambda driver: driver.stops_asked or driver.stop())
    assert not done
    assert [c.stops for c in children] == [[False], [False], []]
    assert len([s for s in seen if s[0] == "end"]) == 2


def test_a_second_stop_ends_the_stubborn_at_once():
    child = Looks(999, stubborn=True)
    done, seen, _ = drive([child], 1, lambda driver: driver.stop() if driver.stops_asked < 2 else None)
    assert not done
    assert child.stops == [False, True]
    assert seen[-1] == ("end", 0, 130)


# -- what is shown ----------------------------------------------------------------------------------------------------


def test_the_time_left_is_that_of_the_work_left():
    pace = Pace()
    assert pace.left_s(["a"], [], 1) is None
    pace.add("a", 10.0)
    pace.add("a", 20.0)
    pace.add("b", 45.0)
    assert pace.expected("a") == 15.0
    assert pace.expected("new") == 30.0
    assert pace.left_s(["a", "b"], [], 1) == 60.0
    assert pace.left_s(["a", "b"], [], 2) == 30.0
    assert pace.left_s(["a"], [CellProgress("b", 5.0)], 2) == 40.0, "no less than the longest that runs"
    assert pace.left_s([], [CellProgress("a", 99.0)], 2) == 0.0


def test_before_any_cell_has_ended_those_under_way_tell_how_long_they_take():
    assert share_done("epoch   3/12  step 40") == 0.25
    assert share_done("depth of 2,100 poses") == 0.0
    begun = [CellProgress("a", 10.0, 0.25), CellProgress("b", 10.0)]
    assert Pace().left_s(["a"], begun, 1) == 40.0 + 30.0 + 30.0
    assert Pace().left_s(["a"], [CellProgress("b", 10.0)], 1) is None


def test_counts_and_clocks_read_well():
    assert Counts(1, 1, 2, 3).text(90.0) == "1/7 done, 1 failed, 2 running, 3 left, ETA 1:30 min"
    assert Counts(2, 0, 0, 0).text(0.0) == "2/2 done"
    assert [clock(s) for s in (3.4, 59.4, 61, 3661)] == ["3 s", "59 s", "1:01 min", "1:01 h"]


# -- a whole grid with a small program --------------------------------------------------------------------------------


def starts(folder):
    return {p.parent.name: p.read_text() for p in folder.glob("*/starts")}


def test_a_grid_runs_every_cell_once_and_again_skips_them_all(fake_train, capsys):
    assert main([*FOUR, "parallel=2"]) == 0
    out = capsys.readouterr().out
    assert "4 runs = 2 methods x 1 lifter x 2 inputs x 1 seed" in out
    assert "2 at once on this machine, each a process of 1 thread" in out
    assert "source val 60.0 · synthetic_near 91.0 · synthetic_wide 120.0 mm" in out
    assert "[4/4 done]" in out
    (folder,) = (fake_train / "runs").glob("grid-*")
    assert starts(folder) == dict.fromkeys(NAMES, "x")
    assert [c["name"] for c in json.loads((folder / "grid.json").read_text())["cells"]] == NAMES

    assert main([*FOUR, "parallel=2"]) == 0
    assert "resuming: 4 finished runs kept" in capsys.readouterr().out
    assert starts(folder) == dict.fromkeys(NAMES, "x"), "nothing ran twice"
    assert main([*FOUR, "seeds=[0,1]", f"out={folder}"]) == 0
    assert set(starts(folder).values()) == {"x"}
    assert len(starts(folder)) == 8


def test_a_failure_is_reported_the_others_go_on_and_it_is_tried_again(fake_train, capsys, monkeypatch):
    monkeypatch.setenv("FAKE_TRAIN", "exit4@random_rigid-simple_baseline-xy-s0")
    assert main([*FOUR, "out=g"]) == 1
    out = capsys.readouterr().out
    assert f"{NAMES[2]}: FAILED" in out
    assert "the data is gone\nlook there (exit code 4, log: " in out
    assert "  | error: the data is gone" in out
    assert "3/4 done, 1 failed" in out
    assert f"1 failed; try again with\n  dg grid '{FOUR[0]}' '{FOUR[1]}' tracking.uri=off out=" in out
    monkeypatch.setenv("FAKE_TRAIN", "fine")
    assert main([*FOUR, "out=g"]) == 0
    assert starts(fake_train / "g") == dict.fromkeys(NAMES, "x") | {NAMES[2]: "xx"}


def test_a_run_without_a_result_is_a_failure(fake_train, capsys, monkeypatch):
    monkeypatch.setenv("FAKE_TRAIN", "silent@erm")
    assert main(["methods=[erm]", "tracking.uri=off", "out=g"]) == 1
    out = capsys.readouterr().out
    assert "no usable result in " in out
    assert "g/erm-simple_baseline-xyd-s0/summary.json" in out
    assert "no run has finished" in out


def test_a_wrong_word_starts_nothing(fake_train, capsys):
    assert main([*FOUR, "epochs=0"]) == 2
    assert capsys.readouterr().err.startswith("error: epochs must be positive")
    assert not list(fake_train.iterdir())


def test_other_settings_are_refused_in_a_folder_that_was_begun(fake_train, capsys):
    assert main([*FOUR, "out=g"]) == 0
    assert main([*FOUR, "out=g", "epochs=5"]) == 2
    assert "epochs: 12 then, 5 now" in capsys.readouterr().err
    assert starts(fake_train / "g") == dict.fromkeys(NAMES, "x")


def test_two_drivers_never_work_in_one_folder(fake_train, capsys):
    from filelock import FileLock

    (fake_train / "g").mkdir()
    with FileLock(fake_train / "g" / LOCK):
        assert main([*FOUR, "out=g"]) == 3
    assert "another driver" in capsys.readouterr().err


@pytest.mark.reliability
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_driver_that_is_interrupted_or_killed_leaves_checkpoints_and_no_process(fake_train, capsys, monkeypatch, how):
    words = [*FOUR, "parallel=2", "out=g"]
    settings = {"env": os.environ | {"FAKE_TRAIN": "hang@erm"}, "text": True, "stdout": subprocess.PIPE}
    with subprocess.Popen(command("dg.grid.__main__", *words), **settings) as driver:
        runs = [fake_train / "g" / name for name in NAMES[:2]]
        for run in runs:
            wait_for(run / "ready")
        children = psutil.Process(driver.pid).children()
        assert len(children) == 2
        driver.send_signal(how)
        out = driver.communicate(timeout=600)[0]
    assert driver.returncode == (130 if how == signal.SIGINT else -signal.SIGKILL)
    assert not psutil.wait_procs(children, timeout=180)[1]
    assert all((run / "checkpoint").exists() for run in runs)
    if how == signal.SIGINT:
        assert "interrupted; resume with\n  dg grid" in out

    monkeypatch.setenv("FAKE_TRAIN", "hang@erm")
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "2 to resume from a checkpoint, 2 to start" in out
    assert f"{NAMES[0]}: resumed from its checkpoint" in out
    assert starts(fake_train / "g") == dict(zip(NAMES, ("xx", "xx", "x", "x"), strict=True))


# -- the real thing ---------------------------------------------------------------------------------------------------

TINY = [
    "methods=[random_rigid]", "inputs=[xy,xyd]", "epochs=1", "max_steps=2", "batch_size=64", "data.clips=6",
    "data.frames=12", "targets=['synthetic:near?clips=2&frames=12']", "lifter.width=32", "device=cpu", "parallel=2",
    "out=grid",
]  # fmt: skip


def test_a_small_grid_end_to_end_and_again(tmp_path, monkeypatch, capsys):
    """Processes of their own have the runs of the test below."""
    from mlflow import MlflowClient

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(session, "ChildRun", InThisProcess)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    new_store(tmp_path)
    assert main(TINY) == 0
    out = capsys.readouterr().out
    table = [line for line in out.splitlines() if line.startswith("|")]
    for inputs in ("xy ", "xyd+dscale2d=focal, zbuffer (oracle)"):
        assert any(line.startswith("| Random rigid ") and f"| {inputs}" in line for line in table)
    assert (tmp_path / "grid/comparison.md").read_text().strip() in out

    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("dg").experiment_id])
    assert {r.info.status for r in runs} == {"FINISHED"}
    (parent,) = [r for r in runs if "mlflow.parentRunId" not in r.data.tags]
    assert parent.data.params["grid.methods"] == "['random_rigid']"
    children = [r for r in runs if r.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert sorted(r.data.tags["mlflow.dg.child"] for r in children) == sorted(NAMES[2:])
    assert "Random rigid · xyd · synthetic · seed 0" in {r.info.run_name for r in children}
    assert parent.info.run_name == "Grid · Random rigid · xy, xyd · synthetic · 1 seed"
    errors = [r.data.metrics["target/synthetic_near/mpjpe_mm"] for r in children]
    assert parent.data.metrics["target/synthetic_near/mpjpe_mm"] == min(errors)
    assert all(r.info.run_id in parent.data.tags["mlflow.note.content"] for r in children), "links to the children"
    assert {r.data.tags["grid.id"] for r in runs} == {parent.data.tags["grid.id"]}
    files = {"comparison.md", "comparison.png", "report.html", "grid.json"}
    assert {a.path for a in client.list_artifacts(parent.info.run_id)} == files
    assert "Random rigid" in (tmp_path / "grid/report.html").read_text()

    assert main(TINY) == 0
    out = capsys.readouterr().out
    assert "resuming: 2 finished runs kept" in out
    assert [line for line in out.splitlines() if line.startswith("|")] == table
    assert len(client.search_runs([parent.info.experiment_id])) == 3


@pytest.mark.reliability
def test_a_cell_that_was_killed_and_is_tried_again_stays_one_run(tmp_path, monkeypatch):
    from mlflow import MlflowClient

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    new_store(tmp_path)
    words = [word for word in TINY if not word.startswith(("epochs", "max_steps", "inputs"))]
    words += ["inputs=[xy]", "epochs=40", "virtual_cameras=0"]
    settings = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([sys.executable, "-m", "dg", "grid", *words], **settings) as driver:
        try:
            wait_for(tmp_path / f"grid/{NAMES[2]}/mlflow_run.json", 600)
        finally:
            family = psutil.Process(driver.pid).children(recursive=True)
            for process in (driver, *family):
                process.kill()
            psutil.wait_procs(family, timeout=60)
    assert not (tmp_path / f"grid/{NAMES[2]}/summary.json").exists(), "it was in the middle"
    assert main(words) == 0
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("dg").experiment_id])
    (child,) = [r for r in runs if "mlflow.parentRunId" in r.data.tags]
    assert len(runs) == 2, "and one parent"
    assert {r.info.status for r in runs} == {"FINISHED"}
    assert child.data.metrics["target/synthetic_near/mpjpe_mm"] > 0
