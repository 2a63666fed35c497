"""Runs that share a store and a cache, kills where files are written, and what a series of runs leaves in a process."""

import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from dg.files.safe_load import load_npz
from dg.settings.command_line import parse
from dg.train import run
from tests.train_process import QUIET

pytestmark = pytest.mark.reliability
SMALL = [
    "pool=local", "method=random_rigid", "data.clips=6", "data.frames=20", "batch_size=32", "lifter.width=16",
    "epochs=1", "evaluate_every=1", "device=cpu", "threads=1",
]  # fmt: skip
RUNS = 8
LONG_SERIES = int(os.environ.get("DG_SERIES", "30"))


def start(folder: Path, module: str, *words: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", module, *words]
    return subprocess.Popen(
        command, cwd=folder, env=os.environ | QUIET, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def shared(folder: Path) -> list[str]:
    return [f"cache={folder}/cache", f"tracking.uri=sqlite:///{folder}/mlflow.db"]


def test_two_runs_at_once_share_one_store_and_one_cache(tmp_path):
    words = [*SMALL, *shared(tmp_path)]
    both = [start(tmp_path, "dg.train", *words, f"seed={n}", f"out={tmp_path}/run{n}") for n in (1, 2)]
    told = [process.communicate(timeout=570)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    from dg.tracking.stores import client_of

    client = client_of(f"sqlite:///{tmp_path}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("dg").experiment_id])
    assert sorted(r.info.status for r in runs) == ["FINISHED", "FINISHED"]
    assert {r.data.params["seed"] for r in runs} == {"1", "2"}
    for path in (tmp_path / "cache").glob("*.npz"):
        assert load_npz(path)
    assert not list((tmp_path / "cache").glob("*.tmp"))


def test_kills_during_evaluation_and_cache_writes_leave_whole_files_or_none(tmp_path):
    run(parse([*SMALL, "cache=off", "tracking.uri=off", f"out={tmp_path}/run"]), quiet=True)
    out = tmp_path / "out" / "evaluation.json"
    words = [f"{tmp_path}/run", f"cache={tmp_path}/cache", "tracking.uri=off", f"out={out}"]
    began = time.monotonic()
    whole = start(tmp_path, "dg.evaluate", *words)
    assert whole.wait(300) == 0, whole.stdout.read()
    seconds, expected = time.monotonic() - began, json.loads(out.read_text())["results"]
    for number in range(5):
        for path in (tmp_path / "cache").glob("*.npz"):
            path.unlink()
        out.unlink(missing_ok=True)
        process = start(tmp_path, "dg.evaluate", *words)
        time.sleep(seconds * (0.5 + 0.1 * number))
        process.kill()
        process.wait()
        if out.exists():
            assert json.loads(out.read_text())["results"] == expected
        for path in (tmp_path / "cache").glob("*.npz"):
            assert load_npz(path)
    last = start(tmp_path, "dg.evaluate", *words)
    assert last.wait(300) == 0
    assert json.loads(out.read_text())["results"] == expected


def figures_of(me: psutil.Process) -> tuple[int, int, int, int]:
    """Open files, threads, children and MB of memory of a process, after a collection.

    Without matplotlib's font files: it keeps up to 64 of them open for every thread that has drawn.
    """
    gc.collect()
    children = len(me.children(recursive=True))
    fonts = sum(Path(file.path).suffix == ".ttf" for file in me.open_files())
    return me.num_fds() - fonts, me.num_threads(), children, round(me.memory_info().rss / 1e6)


def check_series(folder: Path, runs: int, *words: str, files_of_a_run: float = 0, threads_of_a_run: float = 0) -> None:
    """One process runs one training after another: what it holds does not grow after the first half.

    Args:
        files_of_a_run, threads_of_a_run: what a library beneath leaves behind each time.
    """
    me, figures = psutil.Process(), []
    for number in range(runs):
        run(parse([*SMALL, *shared(folder), f"seed={number}", f"out={folder}/{number}", *words]), quiet=True)
        figures.append(figures_of(me))
    print("files, threads, children, RSS in MB after each run:", *figures, sep="\n  ")
    settled, last = figures[runs // 2], figures[-1]
    between = runs - 1 - runs // 2
    assert last[0] <= settled[0] + 2 + files_of_a_run * between
    assert last[1] <= settled[1] + 2 + threads_of_a_run * between
    assert last[2] <= settled[2]
    assert last[3] <= settled[3] + 60


def test_a_series_of_runs_leaves_nothing_in_the_process(tmp_path):
    check_series(tmp_path, RUNS)


@pytest.mark.slow
def test_a_long_series_of_runs_with_ray_leaves_nothing_on_the_machine(tmp_path, monkeypatch):
    """Each run starts a cluster of its own and ends it: no process and no session folder is left behind."""
    with tempfile.TemporaryDirectory(prefix="s", dir="/tmp") as own:
        monkeypatch.setattr(tempfile, "tempdir", own)
        # Ray 2.60 leaves a thread and a socket in the process after a bare `ray.init` and `ray.shutdown`; after a run
        # it is one or two sockets.
        words = ("pool=ray", "render.actors=1", "inputs=xyd", "depth=zbuffer")
        check_series(tmp_path, LONG_SERIES, *words, files_of_a_run=2, threads_of_a_run=1)
        processes = [p.pid for p in psutil.process_iter(["cmdline"]) if own in " ".join(p.info["cmdline"] or ())]
        print(f"left: processes {processes}, files {list(Path(own).iterdir())}")
        assert not processes
        assert not list(Path(own).iterdir())
