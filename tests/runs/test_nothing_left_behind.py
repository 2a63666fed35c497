"""However a driver ends, nothing of its run remains: no process, no folder of Ray's, no shared memory, no half file."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from dg.cluster.guardian import CLUSTER_PREFIX, Guardian, end_cluster, guarded_runs, make_cluster_folder, ray_folder
from dg.grid.child_run import ChildRun
from dg.runs.status_file import read_status
from tests.train_process import (
    WORDS,
    cluster_folder,
    family,
    has_checkpoint,
    lives,
    same_weights,
    start,
    status_of,
    wait_for,
)

pytestmark = pytest.mark.reliability
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
DRIVER = """
import os, sys, time
from pathlib import Path
from dg.cluster.guardian import Guardian

out, cluster = Path(sys.argv[1]), Path(sys.argv[2]) if sys.argv[2] else None
guardian = Guardian(out, cluster, [out / "cache"])
guardian.watch(os.getpid())
print("up", flush=True)
time.sleep(60)
"""


def script(text: str, *words: object) -> "subprocess.Popen[str]":
    process = subprocess.Popen([sys.executable, "-c", text, *map(str, words)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "up\n"
    return process


def half_file(folder: Path, pid: int) -> Path:
    """What `replace_file` has begun and not renamed."""
    path = folder / f".checkpoint-000000040.pt.{pid}.tmp"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"half")
    return path


def shared_memory(processes: list[psutil.Process]) -> set[str]:
    """Named segments that these processes have mapped or open."""
    found = set()
    for process in processes:
        try:
            paths = [m.path for m in process.memory_maps()] + [f.path for f in process.open_files()]
        except psutil.Error:
            continue
        found |= {path for path in paths if path.startswith("/dev/shm/")}
    return found


def left(processes: list[psutil.Process], cluster: Path, out: Path, segments: set[str]) -> list[str]:
    """What remains of a run, in words."""
    remains = [f"{p.pid}" for p in processes if lives(p)]
    remains += [str(path) for path in (cluster, *out.rglob("*.tmp"), *map(Path, segments)) if path.exists()]
    return remains + [str(run) for run in guarded_runs() if run == out]


# -- the guardian by itself, with small programs in the place of Ray's


def test_when_the_driver_is_killed_the_guardian_ends_its_cluster_and_removes_its_files(tmp_path):
    cluster = make_cluster_folder()
    (cluster / "session" / "sockets").mkdir(parents=True)
    raylet = script(STUBBORN, f"--store={cluster}/session/sockets/plasma_store")
    reader = script(STUBBORN, f"{cluster}/session/logs/raylet.out")  # somebody who looks at a log
    driver = script(DRIVER, tmp_path, cluster)
    mine, cached = half_file(tmp_path, driver.pid), half_file(tmp_path / "cache", driver.pid)
    other = half_file(tmp_path, os.getpid())  # of somebody who is writing it
    wait_for(lambda: tmp_path in guarded_runs(), 20)
    assert raylet.poll() is None
    driver.kill()
    driver.wait()
    try:
        assert raylet.wait(20) == -signal.SIGKILL, "SIGTERM did not help"
        wait_for(lambda: not cluster.exists() and not mine.exists() and not cached.exists(), 20)
        assert reader.poll() is None
        assert other.exists()
        wait_for(lambda: tmp_path not in guarded_runs(), 20)
    finally:
        reader.kill()
        reader.wait()


def test_release_clears_up_at_once_and_spares_the_files_of_whoever_still_writes(tmp_path):
    cluster = make_cluster_folder()
    guardian = Guardian(tmp_path, cluster)
    guardian.watch(os.getpid())
    mine = half_file(tmp_path, os.getpid())
    guardian.release()
    assert not cluster.exists()
    assert mine.exists()
    guardian.release()


def test_the_guardian_is_no_child_of_the_driver(tmp_path):
    """What kills a driver with all its children (dg.grid.child_run) must spare it."""
    driver = script(DRIVER, tmp_path, "")
    wait_for(lambda: tmp_path in guarded_runs(), 20)
    wait_for(lambda: not [p for p in family(driver.pid) if lives(p)], 20)
    driver.kill()
    driver.wait()
    wait_for(lambda: tmp_path not in guarded_runs(), 20)


def test_only_a_folder_of_our_own_making_is_removed(tmp_path):
    end_cluster(tmp_path)
    assert tmp_path.exists()


@pytest.mark.parametrize("folder", ["", ".", "/", "/tmp", "dg-ray-abc"])
def test_a_folder_that_is_in_everybodys_command_line_ends_nobody(folder):
    with pytest.raises(ValueError, match="one cluster's own folder"):
        end_cluster(Path(folder))


def test_sockets_below_the_cluster_folder_fit_into_an_address(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / ("long" * 20)))
    folder = make_cluster_folder()
    try:
        assert folder.name.startswith(CLUSTER_PREFIX)
        longest = ray_folder(folder) / "session_2026-12-31_23-59-59_999999_4194304" / "sockets" / "plasma_store"
        assert len(str(longest)) <= 107
    finally:
        folder.rmdir()


# -- whole runs


def test_after_sigkill_of_the_driver_nothing_remains_and_resuming_gives_the_same_weights(tmp_path):
    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    out = tmp_path / "cut" / "run"
    driver = start(tmp_path / "cut", "tracking.uri=off", "epochs=12")
    wait_for(lambda: has_checkpoint(tmp_path / "cut"))
    everyone, cluster = family(driver.pid), cluster_folder(out)
    assert len(everyone) >= 5  # gcs, raylet, its agents, the trainer, its render actors
    assert cluster.is_dir()
    segments = shared_memory(everyone)
    half_file(out, status_of(tmp_path / "cut")["pid"])  # as if it were just saving
    driver.kill()
    driver.communicate()
    wait_for(lambda: not left(everyone, cluster, out, segments), 30)
    assert read_status(out)["state"] == "dead"

    resumed = start(tmp_path / "cut", "tracking.uri=off", "pool=local", "resume=auto")
    whole = start(tmp_path / "whole", "tracking.uri=off", "pool=local")
    for process in (resumed, whole):
        assert process.wait(240) == 0, process.communicate()
        process.communicate()
    assert same_weights(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.parametrize(
    "signals", [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM,)], ids=["ctrl-c-twice", "sigterm"]
)
def test_after_a_signal_nothing_remains(tmp_path, signals):
    driver = start(tmp_path, "tracking.uri=off", "epochs=4000", "render.actors=1")
    wait_for(lambda: has_checkpoint(tmp_path))
    everyone, cluster = family(driver.pid), cluster_folder(tmp_path / "run")
    segments = shared_memory(everyone)
    driver.send_signal(signals[0])
    while "stopping at the end of this batch" not in driver.stderr.readline():
        assert driver.poll() is None
    for number in signals[1:]:
        driver.send_signal(number)
    _, told = driver.communicate(timeout=600)
    assert driver.returncode == 130
    assert "Traceback" not in told
    assert not left(everyone, cluster, tmp_path / "run", segments), "all of it before the driver's own end"


def test_after_sigkill_in_one_process_no_half_file_remains(tmp_path):
    driver = start(tmp_path, "tracking.uri=off", "epochs=4000", "pool=local", "inputs=xy")
    wait_for(lambda: has_checkpoint(tmp_path))
    path = half_file(tmp_path / "run", driver.pid)
    driver.kill()
    driver.communicate()
    wait_for(lambda: not path.exists() and not list((tmp_path / "run").glob(".*.tmp")), 30)


# -- runs that a grid or a sweep has started (dg.grid.child_run)

PARENT = """
import sys, time
from pathlib import Path
from dg.grid.child_run import ChildRun
child = ChildRun(Path(sys.argv[1]), sys.argv[2:])
print("up", flush=True)
time.sleep(600)
"""


def test_a_child_whose_parent_is_killed_checkpoints_and_leaves_nothing(tmp_path):
    out = tmp_path / "run"
    parent = script(PARENT, out, *WORDS, "tracking.uri=off", "epochs=4000", "pool=local", "inputs=xy")
    wait_for(lambda: has_checkpoint(tmp_path))
    child = psutil.Process(status_of(tmp_path)["pid"])
    parent.kill()
    parent.wait()
    wait_for(lambda: not lives(child), 60)
    assert status_of(tmp_path)["state"] == "interrupted"
    wait_for(lambda: not left([child], tmp_path / "none", out, set()), 30)


def test_a_child_that_is_ended_at_once_with_its_family_leaves_nothing(tmp_path):
    out = tmp_path / "run"
    child = ChildRun(out, [*WORDS, "tracking.uri=off", "epochs=4000", "render.actors=1"])
    wait_for(lambda: has_checkpoint(tmp_path))
    everyone, cluster = family(child.pid), cluster_folder(out)
    half_file(out, status_of(tmp_path)["pid"])
    child.stop(at_once=True)
    wait_for(lambda: child.poll() is not None, 20)
    wait_for(lambda: not left(everyone, cluster, out, set()), 30)
