"""A run in a cluster that others have started: sent there as a job, or joined."""

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from dg.cluster.address import cluster_address, clusters_here, unused_clusters, where
from dg.cluster.guardian import members
from dg.cluster.submit import _Log, entrypoint, job_server
from dg.settings.command_line import parse
from dg.settings.config import ConfigError
from dg.train import main
from render_workers.pool_options import ResourceError
from tests.ray_head import ENVIRONMENT, free_ports, ray_head
from tests.train_process import WORDS, has_checkpoint, lives, start, status_of, wait_for

HERE = {"DG_CLUSTER_PYTHON": sys.executable}
SHORT = ("tracking.uri=off", "epochs=2", "evaluate_every=2")


@pytest.fixture(autouse=True)
def _no_addresses(monkeypatch):
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "DG_CLUSTER_PYTHON"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def head():
    with ray_head() as cluster:
        yield cluster


def command(module: str, *words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", module, *words], env=os.environ | ENVIRONMENT | environment, capture_output=True,
        text=True, timeout=300,
    )  # fmt: skip


# -- where a run runs, before Ray starts


@pytest.mark.parametrize(
    ("words", "environment", "expected"),
    [
        (["pool=local"], "10.0.0.1:6379", "this machine, in this process"),
        ([], "", "this machine, in a Ray cluster of its own"),
        (["address=local"], "10.0.0.1:6379", "this machine, in a Ray cluster of its own"),
        ([], "10.0.0.1:6379", "the Ray cluster at 10.0.0.1:6379"),
        (["address=10.0.0.2:6379"], "10.0.0.1:6379", "the Ray cluster at 10.0.0.2:6379"),
        (["address=auto"], "", "the Ray cluster of this machine"),
        (["address=auto"], "10.0.0.1:6379", "the Ray cluster at 10.0.0.1:6379"),
    ],
)
def test_the_first_line_says_where(monkeypatch, words, environment, expected):
    monkeypatch.setenv("RAY_ADDRESS", environment)
    assert where(parse(words)) == expected


@pytest.mark.parametrize("address", ["ray://head:10001", "http://head:8265"])
def test_an_address_that_takes_no_runs_is_refused(address):
    with pytest.raises(ConfigError, match="submit=true"):
        cluster_address(parse([f"address='{address}'"]))


def test_a_cluster_that_is_not_used_is_named(monkeypatch):
    monkeypatch.setattr("dg.cluster.address.clusters_here", lambda: ["10.0.0.1:6379"])
    monkeypatch.setattr("dg.cluster.address.clusters_brought_up", lambda: ["lab"])
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://head:8265")
    line = unused_clusters(parse([]))
    assert "\n" not in line
    assert all(name in line for name in ("address=10.0.0.1:6379", "http://head:8265", "submit=true", "lab"))
    assert unused_clusters(parse(["address=10.0.0.1:6379"])) == ""
    assert unused_clusters(parse(["pool=local"])) == ""


def test_nobody_at_the_address_is_one_clear_message(capsys, tmp_path):
    (port,) = free_ports(1)
    words = [*WORDS, f"out={tmp_path / 'run'}", "tracking.uri=off"]
    for given in (f"address=127.0.0.1:{port}", f"address='http://127.0.0.1:{port}'"):
        assert main([*words, given, *(["submit=true"] if "http" in given else [])]) == 3
        told = capsys.readouterr().err
        assert told.startswith("error: ")
        assert f"127.0.0.1:{port}" in told
        assert "try: " in told
        assert "Traceback" not in told


# -- the job


def test_words_reach_the_job_as_they_are(monkeypatch):
    words = ["targets=[npz:a b.npz,'c']", "out=it's here", "x=$HOME"]
    monkeypatch.setenv("DG_CLUSTER_PYTHON", "'/opt/my lab/bin/python' -X dev")
    assert shlex.split(entrypoint("dg.train", words)) == [
        "exec", "/opt/my lab/bin/python", "-X", "dev", "-m", "dg.train", *words,
    ]  # fmt: skip
    monkeypatch.delenv("DG_CLUSTER_PYTHON")
    assert entrypoint("dg.train", []) == "exec ${DG_CLUSTER_PYTHON:-python} -m dg.train", "the cluster's own, else PATH"


def test_jobs_go_where_the_words_say_before_the_environment(monkeypatch):
    monkeypatch.setattr("dg.cluster.submit.clusters_here", lambda: ["10.0.0.9:6379"])
    assert job_server("")[0] == "10.0.0.9:6379"
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert job_server("") == ("10.0.0.1:6379", "from RAY_ADDRESS")
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://head:8265")
    assert job_server("auto")[0] == "http://head:8265"
    assert job_server("http://other:8265")[0] == "http://other:8265"


def test_a_log_that_is_told_again_after_a_broken_connection_is_shown_once(capsys):
    log = _Log()
    for told in (["one\n", "tw"], ["one\nt", "wo\n", "three\n"], ["one\ntwo\nthree\n"]):
        log.begin()
        for text in told:
            log.add(text)
    assert capsys.readouterr().out == "one\ntwo\nthree\n" == log.tail


@pytest.mark.reliability
def test_a_submitted_run_shows_its_log_and_leaves_its_results(tmp_path, head):
    words = ("submit=true", f"address='{head.url}'", "render.actors=1", f"out={tmp_path / 'run'}")
    done = command("dg.train", *WORDS, *SHORT, *words, **HERE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(f"dg train as a job on the Ray cluster at {head.url}: random_rigid")
    assert f"dg train on the Ray cluster at {head.address}" in done.stdout, "the job's own first line"
    assert "asked for a trainer with 1 CPU, 1 trainer and 1 render actors" in done.stdout
    assert "found 1 node with 4 CPU, 1 trainer" in done.stdout
    assert done.stdout.count("poses rendered,") == done.stdout.count("epoch   2/2") == 1, "the log, once"
    assert (tmp_path / "run" / "summary.json").is_file()


@pytest.mark.reliability
def test_the_exit_code_is_the_jobs(tmp_path, head):
    words = ["submit=true", f"address='{head.url}'", f"out={tmp_path / 'run'}", *WORDS, *SHORT, "pool=local"]
    broken = command("dg.train", *words, "init_from=absent.pt", **HERE)
    assert broken.returncode == 4, broken.stdout + broken.stderr
    assert "absent.pt" in broken.stdout
    lost = command("dg.train", *words, DG_CLUSTER_PYTHON="/absent/python")
    assert lost.returncode in (126, 127)
    assert "DG_CLUSTER_PYTHON" in lost.stderr


@pytest.mark.reliability
def test_ctrl_c_detaches_and_the_job_is_seen_and_stopped_from_outside(tmp_path, head):
    words = ("submit=true", f"address='{head.url}'", "epochs=4000", "tracking.uri=off", "inputs=xy")
    submitter = start(tmp_path, *words, environment=ENVIRONMENT | HERE)
    wait_for(lambda: has_checkpoint(tmp_path))
    submitter.send_signal(signal.SIGINT)
    out, err = submitter.communicate(timeout=30)
    assert submitter.returncode == 0, out + err
    assert "Traceback" not in err
    job = out.partition("ray job stop --address ")[2].split()[1]
    trainer = psutil.Process(status_of(tmp_path)["pid"])
    assert lives(trainer)

    for address in (head.address, head.url):
        seen = command("dg.status", f"address={address}", **HERE)
        assert seen.returncode == 0, seen.stdout + seen.stderr
        assert f"results in {tmp_path / 'run'}" in seen.stdout, address
        assert "training" in seen.stdout
        assert head.address in seen.stdout

    ray = str(Path(sys.executable).with_name("ray"))
    stopped = subprocess.run(
        [ray, "job", "stop", "--address", head.url, job], env=os.environ | ENVIRONMENT, capture_output=True, timeout=120
    )
    assert stopped.returncode == 0
    wait_for(lambda: not lives(trainer), 60)
    assert status_of(tmp_path)["state"] == "interrupted", "it had the time for a checkpoint"
    idle = command("dg.status", f"address={head.address}")
    assert "no run is going on" in idle.stdout or str(tmp_path) not in idle.stdout


# -- joined


@pytest.mark.reliability
def test_the_trainer_does_not_outlive_a_driver_that_joined_and_was_killed(tmp_path, head):
    words = (f"address={head.address}", "epochs=4000", "tracking.uri=off", "render.actors=1")
    driver = start(tmp_path, *words, environment=ENVIRONMENT)
    wait_for(lambda: has_checkpoint(tmp_path))
    second = command("dg.train", *WORDS, *words, f"out={tmp_path / 'run'}", "resume=auto")
    assert second.returncode == 3, "two runs must not write to one folder"
    assert f"a run is at work in {tmp_path / 'run'}" in second.stderr
    trainer = psutil.Process(status_of(tmp_path)["pid"])
    half = tmp_path / "run" / f".latest.{trainer.pid}.tmp"
    half.write_bytes(b"half")
    actors = [p for p in members(head.folder) if title(p).startswith(("ray::TrainerActor", "ray::_RenderActor"))]
    assert len(actors) >= 2
    driver.kill()
    driver.communicate()
    wait_for(lambda: not [p for p in actors if lives(p)] and not half.exists(), 60)
    assert head.address in clusters_here(), "the cluster itself goes on"

    going_on = start(tmp_path, *words, "resume=auto", environment=ENVIRONMENT)

    def trains() -> bool:
        status = status_of(tmp_path)
        return status.get("pid") != trainer.pid and status.get("state") == "training"

    wait_for(lambda: going_on.poll() is not None or trains())
    going_on.send_signal(signal.SIGTERM)
    out, err = going_on.communicate(timeout=120)
    assert going_on.returncode == 130, out + err
    assert "resumed, " in out


def title(process: psutil.Process) -> str:
    """What a Ray worker calls itself."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@pytest.mark.reliability
def test_a_node_with_other_versions_is_refused(head, monkeypatch):
    import ray

    from dg.cluster import session as ray_session
    from dg.cluster.versions import versions_here

    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    session = ray_session.join_cluster(head.address)
    try:
        session.check_versions()
        elsewhere = {"node-7": versions_here(), "node-8": "cannot be reached"}
        monkeypatch.setattr(ray_session, "_answer", elsewhere.get)
        monkeypatch.setattr(session, "_asked", {name: name for name in elsewhere})
        with pytest.raises(ResourceError, match=r"node-8: cannot be reached") as caught:
            session.check_versions()
        assert "node-7" not in str(caught.value)
    finally:
        session.close()
    assert not ray.is_initialized()
