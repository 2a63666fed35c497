"""The loop that keeps a host in a cluster, with a program in the place of `ray start`. The real one: test_ray_up.py."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dg.cluster.rejoin import PAUSES_S, STEADY_S, Pause, loops_of, main
from tests.fakes import ROOT

# Writes its words to a file of its own, and ends when that file is gone.
RAY = """\
import os, sys, time
path = os.path.join(os.environ["STARTS"], f"{time.monotonic_ns()}")
with open(path + ".tmp", "w") as file:
    file.write(" ".join(sys.argv[1:]))
os.rename(path + ".tmp", path)
while os.path.exists(path):
    time.sleep(0.02)
sys.exit(1)
"""


@pytest.fixture
def head():
    """A port that answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def start(folder: Path, port: int, *words: str) -> "subprocess.Popen[str]":
    (folder / "ray.py").write_text(RAY)
    (folder / "starts").mkdir(exist_ok=True)
    command = [sys.executable, str(folder / "ray.py"), "start", f"--address=127.0.0.1:{port}", "--num-cpus=2"]
    return subprocess.Popen(
        [sys.executable, "-m", "dg.cluster.rejoin", *words, "--", *command], cwd=ROOT, stderr=subprocess.PIPE,
        text=True, env=os.environ | {"STARTS": str(folder / "starts")},
    )  # fmt: skip


def detach(folder: Path, port: int, node: str, *more: str) -> str:
    """Give the command for the background; what it said."""
    (folder / "ray.py").write_text(RAY)
    (folder / "starts").mkdir(exist_ok=True)
    command = [sys.executable, str(folder / "ray.py"), "start", f"--address=127.0.0.1:{port}", *more]
    done = subprocess.run(
        [sys.executable, "-m", "dg.cluster.rejoin", f"detach={folder / 'log'}", "stop=false", "--", *command,
         f"--node-ip-address={node}"],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=True,
        env=os.environ | {"STARTS": str(folder / "starts")},
    )  # fmt: skip
    return done.stderr


def running(folder: Path) -> list[Path]:
    return [path for path in (folder / "starts").iterdir() if path.suffix != ".tmp"]


def wait_for(what, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def test_ray_that_ends_by_itself_is_started_again_and_ends_with_the_loop(tmp_path, head):
    loop = start(tmp_path, head)
    try:
        (first,) = wait_for(lambda: running(tmp_path))
        assert first.read_text() == f"start --address=127.0.0.1:{head} --num-cpus=2 --block"
        first.unlink()
        (second,) = wait_for(lambda: running(tmp_path))
        assert second != first
        loop.send_signal(signal.SIGTERM)
        _, said = loop.communicate(timeout=30)
        assert loop.returncode == 0
        assert said.count("starting Ray\n") == 2
        assert "Ray has ended by itself (exit code 1); starting it again in 1 s" in said
        assert "Traceback" not in said
    finally:
        for path in running(tmp_path):
            path.unlink()
        loop.kill()
        loop.wait()


def test_in_the_background_there_is_one_loop_a_node_and_the_newest_command_counts(tmp_path, head):
    node, other = (f"127.9.{os.getpid() % 250}.{n}" for n in (1, 2))
    try:
        assert "running in the background" in detach(tmp_path, head, node, "--num-cpus=2")
        (first,) = wait_for(lambda: running(tmp_path))
        assert "already running" in detach(tmp_path, head, node, "--num-cpus=2")
        assert len(loops_of(node)) == 1
        detach(tmp_path, head, node, "--num-cpus=4")
        second = wait_for(lambda: [path for path in running(tmp_path) if path != first])
        assert "--num-cpus=4" in second[0].read_text()
        ((loop, given),) = loops_of(node)
        assert "--num-cpus=4" in given
        assert loop.children(), "its own Ray"
        assert not loops_of(other), "another node of this machine is nobody's business here"
        assert "starting Ray" in (tmp_path / "log").read_text()
    finally:
        for loop, _ in loops_of(node):
            loop.terminate()
            loop.wait(30)
    assert not loops_of(node)


def test_a_head_out_of_reach_is_waited_for_and_then_given_up(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    loop = start(tmp_path, port, "patience=1")
    _, said = loop.communicate(timeout=60)
    assert loop.returncode == 3
    assert f"waiting for the head at 127.0.0.1:{port}" in said
    assert "giving up" in said
    assert not running(tmp_path), "nothing is started while there is no head"


def test_starts_that_fail_at_once_become_rare_and_a_long_life_forgives_them():
    pause = Pause()
    waits = [pause.after(ran_s=1.0) for _ in range(8)]
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == PAUSES_S
    assert pause.after(ran_s=STEADY_S) == PAUSES_S[0]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["ray", "start", "--address=10.0.0.1:6379"], "expected --"),
        (["--"], "expected --"),
        (["--", "ray", "start", "--head"], "not the head"),
        (["--", "ray", "start"], "--address=HOST:PORT"),
        (["patience=soon", "--", "ray", "start", "--address=10.0.0.1:6379"], "patience=SECONDS"),
        (["speed=3", "--", "ray", "start", "--address=10.0.0.1:6379"], "patience=SECONDS"),
    ],
)
def test_wrong_words_are_named(words, named, capsys):
    assert main(words) == 2
    assert named in capsys.readouterr().err
