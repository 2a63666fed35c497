"""A run as a process, with small programs in the place of dg.train."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from dg.grid.cells import GridOptions
from dg.grid.child_run import ChildRun, finished_summary, last_error, read_with_train
from dg.grid.driver import DriverBusyError, lock_folder, resume_command
from dg.settings.errors import ConfigError

PATIENT = """
import signal, sys, time
from dg.grid.train_child import end_with_driver
count = 0
def caught(*_):
    global count
    count += 1
    open(f"{sys.argv[1]}-{count}", "w").close()
    if count == int(sys.argv[2]):
        sys.exit(130)
signal.signal(signal.SIGINT, caught)
end_with_driver(patience_s=0.2, grace_s=0.2)
print("ready", flush=True)
while True:
    time.sleep(0.05)
"""


def code_of(child, seconds=180.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        code = child.poll()
        if code is not None:
            return code
        time.sleep(0.02)
    raise AssertionError("it did not end")


def script(text):
    return (sys.executable, "-c", text)


def test_a_child_has_its_words_its_folder_its_log_and_its_environment(tmp_path):
    program = script("import os, sys; print(sys.argv[1:], os.environ['COLOUR'])")
    child = ChildRun(tmp_path / "a b", ("x=1",), program, {"COLOUR": "blue"})
    assert (tmp_path / "a b/process.json").exists()
    assert code_of(child) == 0
    assert child.log_lines() == [str(["x=1", f"out='{tmp_path}/a b'"]) + " blue"]
    assert not (tmp_path / "a b/process.json").exists()
    child.stop(at_once=True)  # of one that has ended, whose number may be another's by now


def test_a_failure_is_told_by_this_attempt_and_not_by_an_earlier_one(tmp_path):
    first = ChildRun(
        tmp_path, (), script("import sys; sys.stderr.write('error: no data\\n       look there\\n'); sys.exit(4)")
    )
    assert first.failure(code_of(first)) == f"no data\nlook there (exit code 4, log: {tmp_path}/train.log)"
    second = ChildRun(tmp_path, (), script("raise RuntimeError('out of memory')"))
    assert second.failure(code_of(second)).startswith("RuntimeError: out of memory (exit code 1")
    assert "no data" in (tmp_path / "train.log").read_text()


def test_a_broken_log_has_still_a_last_word(tmp_path):
    child = ChildRun(tmp_path, (), script("import sys; sys.stdout.buffer.write(b'\\xff\\xfe\\n\\nlast words\\n')"))
    code_of(child)
    assert last_error(child.log_lines()) == "last words"
    assert last_error([]) == "no output"


@pytest.mark.parametrize("content", ["", "{", "[]", "3", '{"interrupted": true}', "{}", None])
def test_only_a_finished_run_has_a_summary(tmp_path, content):
    if content is not None:
        (tmp_path / "summary.json").write_text(content)
    assert finished_summary(tmp_path) is None
    (tmp_path / "summary.json").write_text('{"interrupted": false}')
    assert finished_summary(tmp_path) == {"interrupted": False}


@pytest.mark.parametrize(("asks", "code"), [(1, 130), (2, 130), (9, 130)])
def test_a_child_whose_driver_is_killed_is_asked_twice_and_then_ends(tmp_path, asks, code):
    driver = f"""
import os, sys, time
from pathlib import Path
from dg.grid.child_run import ChildRun
program = (sys.executable, "-c", {PATIENT!r}, {str(tmp_path / "asked")!r}, "{asks}")
child = ChildRun(Path({str(tmp_path)!r}), (), program)
print(child.pid, flush=True)
time.sleep(60)
"""
    with subprocess.Popen(script(driver), stdout=subprocess.PIPE, text=True) as process:
        child = psutil.Process(int(process.stdout.readline()))
        end = time.monotonic() + 180
        while "ready" not in (tmp_path / "train.log").read_text():
            assert time.monotonic() < end
            time.sleep(0.02)
        assert child.is_running()
        os.kill(process.pid, signal.SIGKILL)
    psutil.wait_procs([child], timeout=180)
    assert not child.is_running()
    assert len(list(tmp_path.glob("asked-*"))) == min(asks, 2)


@pytest.mark.parametrize(
    ("code", "summary", "stopped", "state"),
    [
        (0, '{"interrupted": false}', False, "finished"),
        (0, '{"interrupted": false}', True, "finished"),
        (0, '{"interrupted": true}', True, "interrupted"),
        (130, None, False, "interrupted"),
        (1, None, True, "interrupted"),
        (4, None, False, "failed"),
        (4, '{"interrupted": false}', False, "failed"),
        (0, None, False, "failed"),
    ],
)
def test_an_end_is_told_by_exit_code_and_summary(tmp_path, code, summary, stopped, state):
    if summary is not None:
        (tmp_path / "summary.json").write_text(summary)
    child = ChildRun(tmp_path, (), script(f"import sys; sys.exit({code})"))
    end = child.end(code_of(child), stopped)
    assert end.state == state
    assert (end.summary is not None) == (state == "finished")
    assert bool(end.why) == (state != "finished")


# -- what a grid and a sweep share


def test_a_folder_takes_one_driver_at_a_time(tmp_path):
    lock = lock_folder(tmp_path, "the grid")
    with pytest.raises(DriverBusyError, match=f"another driver is at work on the grid in {tmp_path}"):
        lock_folder(tmp_path, "the grid")
    lock.release()
    lock_folder(tmp_path, "the grid").release()


def test_the_command_that_resumes_is_the_one_given_with_its_folder():
    args = ["methods=[erm]", "out=elsewhere", "data.root=a b"]
    assert resume_command("dg grid", args, "g") == "dg grid 'methods=[erm]' 'data.root=a b' out=g"
    assert resume_command("dg grid", args) == "dg grid 'methods=[erm]' out=elsewhere 'data.root=a b'"


def test_own_settings_are_told_apart_from_those_of_the_runs_and_every_problem_is_told():
    options, shared = read_with_train(GridOptions, ["methods=[erm]", "epochs=3", "render.actors=3", "seeds=[1,2]"], {})
    assert options == GridOptions(methods=("erm",), seeds=(1, 2))
    assert shared == ["epochs=3", "render.actors=3"]
    with pytest.raises(ConfigError) as error:
        read_with_train(GridOptions, ["sedes=[0]", "parallel=x", "seed=1"], {"seed": "use seeds=[0]"})
    assert len(str(error.value).splitlines()) == 3
    assert "did you mean 'seeds'" in str(error.value)
