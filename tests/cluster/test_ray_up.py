"""`ray up` with the repository's own cluster.yaml, and a run on it while things happen to its hosts (about 9 minutes).

The hosts are network namespaces that a bridge joins (tests/cluster/namespaces.py). Where namespaces are not allowed
they are loopback addresses, and of what happens only the loss of a Ray process is left. Not shown: clocks that differ,
images that are pulled, GPUs.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch

from dg.files.checkpoint import load_file
from tests.cluster import namespaces
from tests.cluster.loopback import LoopbackCluster
from tests.cluster.namespaces import BY_HAND, RENDER, TRAINER, NamespaceCluster
from tests.cluster.run_watch import RunWatch
from tests.cluster.started import REPOSITORY, StartedCluster, missing_programs, wait_for

pytestmark = pytest.mark.cluster
EPOCHS = 100
WORDS = [
    "method=random_rigid", "inputs=xyd", "depth=paced_zbuffer", "data.clips=8", "data.frames=40", "batch_size=64",
    "lifter.width=64", f"epochs={EPOCHS}", f"evaluate_every={EPOCHS}", "device=cpu", "threads=1", "cache=off",
    "tracking.uri=off", "render.start_timeout_s=900",
]  # fmt: skip
RENDERED = 640  # poses in an epoch, 10 batches
# 1,000 batches are 375 s on four actors; what is to happen takes less, and then the run hurries to its end.
PAUSE_S = 1.5
BRIEF_S, LONG_S = 8.0, 60.0
PATIENCE_S = 300.0  # with events on a machine that is busy with other work


def require_programs() -> None:
    if packages := missing_programs():
        reason = f"`ray up` needs `apt-get install {' '.join(packages)}` first"
        if os.environ.get("DG_REQUIRE_CLUSTER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)


def asked_for_loopback() -> str:
    """`DG_CLUSTER_HOSTS=loopback make test-cluster` tries what machines without namespaces get."""
    return "DG_CLUSTER_HOSTS=loopback" if os.environ.get("DG_CLUSTER_HOSTS") == "loopback" else ""


@pytest.fixture
def cluster(tmp_path) -> Iterator[StartedCluster]:
    require_programs()
    if reason := asked_for_loopback() or namespaces.why_not():
        warnings.warn(f"hosts are loopback addresses, no network is cut or slowed down: {reason}", stacklevel=1)
    cluster: StartedCluster = LoopbackCluster() if reason else NamespaceCluster()
    try:
        yield cluster
    finally:
        cluster.stop()


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(sorted(out.glob("checkpoint-*.pt"))[-1])["method"]["networks"]


class Runs:
    """The run on the cluster and, beside it, the same one in one process, undisturbed and unhurried by renders."""

    def __init__(self, cluster, folder: Path) -> None:
        self.cluster, self.folder, self.hurry = cluster, folder, cluster.seen / "hurry"
        out = cluster.shared / "run"
        words = (f"depth.pause_s={PAUSE_S}", f"depth.until={cluster.shared / 'hurry'}", f"out={out}")
        self.processes = [self._start(cluster.submit(*WORDS, *words, *cluster.actors_wanted), "job.log", cluster.root)]
        self.watch = RunWatch(cluster.seen / "run", self.processes[0], folder / "job.log")

    def start_reference(self) -> None:
        command = [sys.executable, "-m", "dg.train", *WORDS, "pool=local", f"out={self.folder / 'reference'}"]
        where = {"PYTHONPATH": f"{REPOSITORY}:{self.cluster.root / 'plug_ins'}", "HOME": str(self.cluster.root)}
        self.processes.append(self._start(command, "reference.log", self.folder, where))

    def _start(self, command: list[str], log: str, folder: Path, more: dict[str, str] | None = None):
        with (self.folder / log).open("wb") as output:
            return subprocess.Popen(
                command,
                cwd=folder,
                env=self.cluster.environment | (more or {}),
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def finish(self) -> None:
        """Let the run hurry to its end, and compare it with the other."""
        self.hurry.touch()
        (job, reference), out = self.processes, self.cluster.seen / "run"
        assert job.wait(1200) == 0, self.watch.log.read_text()[-5000:]
        assert "succeeded" in self.watch.log.read_text()
        summary = json.loads((out / "summary.json").read_text())
        assert not summary["interrupted"]
        assert summary["ledger"]["submitted"] == summary["ledger"]["done"] >= EPOCHS * RENDERED
        assert summary["ledger"]["quarantined"] == 0
        assert reference.wait(1200) == 0, (self.folder / "reference.log").read_text()
        expected, found = weights(self.folder / "reference"), weights(out)
        assert expected.keys() == found.keys()
        assert all(torch.equal(expected[name], found[name]) for name in expected)

    def stop(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


def test_a_run_outlives_what_happens_to_its_hosts(cluster, tmp_path):
    runs, began = None, time.monotonic()
    try:
        cluster.up()
        up_s = time.monotonic() - began
        runs = Runs(cluster, tmp_path)
        run = runs.watch
        run.until(lambda: run.live() >= 2 and run.trained() > 0, PATIENCE_S, "first steps on two actors")
        print(f"cluster up after {up_s:.0f} s, first steps {time.monotonic() - began - up_s:.0f} s later")
        runs.start_reference()
        assert set(cluster.actors("TrainerActor")) == {cluster.trainer}  # which has the resource of that name
        assert cluster.head not in cluster.actors("RenderActor")  # it has no CPU to give
        cluster.note_shared_memory()
        if isinstance(cluster, NamespaceCluster):
            for happens in (a_slow_cable, a_brief_cut, a_full_disk, a_long_cut, a_host_that_vanishes):
                since = time.monotonic()
                happens(cluster, run)
                print(f"  ({happens.__name__} took {time.monotonic() - since:.0f} s)")
        else:
            a_lost_raylet(cluster, run)
        runs.finish()
        print(f"all of it took {time.monotonic() - began:.0f} s")
    except BaseException:
        cluster.keep_logs(tmp_path)
        raise
    finally:
        cluster.note_shared_memory()
        if runs is not None:
            runs.stop()
        cluster.stop()
    assert cluster.leftovers() == []


# -- what happens


def a_lost_raylet(cluster, run: RunWatch) -> None:
    """Ray's process on a host is killed: `ray up` starts it again, and the pool is whole again."""
    before, raylet = sum(map(len, cluster.actors("RenderActor").values())), cluster.raylets()[cluster.render]
    os.kill(raylet.pid, signal.SIGKILL)
    psutil.wait_procs([raylet], timeout=10)
    since = time.monotonic()

    def full_again() -> bool:
        now = cluster.actors("RenderActor")
        return cluster.render in now and sum(map(len, now.values())) >= before

    run.until(full_again, PATIENCE_S, "full pool after the loss of a node")
    assert cluster.raylets()[cluster.render].pid != raylet.pid
    print(f"raylet killed: the pool is whole again after {time.monotonic() - since:.0f} s")


def a_slow_cable(cluster: NamespaceCluster, run: RunWatch) -> None:
    """The trainer's host is connected with 100 Mbit/s."""
    run.until(lambda: run.live() == 4, PATIENCE_S, "four actors")
    hosts = cluster.actors("RenderActor")
    assert {host: len(actors) for host, actors in hosts.items()} == {RENDER: 2, BY_HAND: 2}
    free = run.rate(24)  # some 28 batches: one more or less must not decide
    cluster.slow_down(TRAINER, "100mbit")
    before, since = cluster.traffic(TRAINER), time.monotonic()
    slow = run.rate(24)
    seconds = time.monotonic() - since
    received, sent = ((now - then) / seconds for now, then in zip(cluster.traffic(TRAINER), before, strict=True))
    cluster.speed_up(TRAINER)
    assert slow.poses_per_s > 0.8 * free.poses_per_s
    print(
        f"trainer's cable with 100 Mbit/s: {slow.poses_per_s:.0f} poses/s against {free.poses_per_s:.0f} before; "
        f"{sent / slow.poses_per_s:.0f} bytes a pose out and {received / slow.poses_per_s:.0f} in, with Ray's own"
    )


def a_brief_cut(cluster: NamespaceCluster, run: RunWatch) -> None:
    """A render host is cut off for less than ten seconds: that costs no actor."""
    actors = actor_pids(cluster, RENDER)
    deaths = run.pool("deaths")
    run.forget()
    cluster.cut(RENDER)
    time.sleep(BRIEF_S)
    cluster.mend(RENDER)
    before = cluster.traffic(RENDER)[0]
    # Payloads of several batches have come: the actors there work again.
    run.until(lambda: cluster.traffic(RENDER)[0] - before > 500_000, PATIENCE_S, "work for the host that is back")
    run.until(lambda: run.live() == 4, PATIENCE_S, "four actors")
    assert actor_pids(cluster, RENDER) == actors
    assert run.pool("deaths") == deaths
    print(f"cut off for {BRIEF_S:g} s: no actor lost, {run.longest_gap():.0f} s at most without an answer")


def a_full_disk(cluster: NamespaceCluster, run: RunWatch) -> None:
    """Not a byte is left on a host on which an actor dies: its successor cannot start, and the others go on."""
    cluster.fill(RENDER)
    os.kill(min(actor_pids(cluster, RENDER)), signal.SIGKILL)
    run.until(lambda: "could not start" in run.last_error(), PATIENCE_S, "start that fails for the full disk")
    done = run.pool("done")
    run.until(lambda: run.pool("done") > done + 10 * 64, PATIENCE_S, "answers from the other actors")
    cluster.empty(RENDER)
    since = time.monotonic()
    run.until(lambda: run.live() == 4, PATIENCE_S, "four actors after the disk has room again")
    print(f"full disk: three actors went on, the fourth was back {time.monotonic() - since:.0f} s after it had room")


def a_long_cut(cluster: NamespaceCluster, run: RunWatch) -> None:
    """All render hosts are cut off for a minute: the pool says so, Ray is started again on both, and they work."""
    hosts, raylets = (RENDER, BY_HAND), cluster.raylets()
    cluster.cut(*hosts)
    since = time.monotonic()
    run.until(
        lambda: run.pool("live") == 0 and "left the cluster" in run.last_error(), PATIENCE_S, "word of the outage"
    )
    said = run.last_error()
    assert re.search(r"too few render actors for \d+ s: 0 of 4 are live", said)
    assert all(f"{name} ({address})" in said for name, address in (("render1", RENDER), ("render2", BY_HAND)))
    assert run.pool("short_s") >= 15
    said_s = time.monotonic() - since
    time.sleep(max(0.0, LONG_S - (time.monotonic() - since)))
    cluster.mend(*hosts)
    since = time.monotonic()
    run.until(lambda: run.live() > 0, PATIENCE_S, "live actor after the cut")
    first_s = time.monotonic() - since
    run.until(lambda: run.live() == 4, PATIENCE_S, "four actors after the cut")
    whole_s = time.monotonic() - since
    assert set(cluster.actors("RenderActor")) == set(hosts)
    for host in hosts:
        assert cluster.raylets()[host].pid != raylets[host].pid, "Ray was declared dead, and started again"
    for log in (cluster.root / "rejoin.log", cluster.root / f"render1/dg/rejoin-{RENDER}.log"):
        assert "Ray has ended by itself" in log.read_text()
    assert "too few" not in run.last_error()
    print(
        f"both render hosts cut off for {LONG_S:g} s: said after {said_s:.0f} s as\n{said}\n"
        f"first actor live {first_s:.0f} s after the cables were back, all four after {whole_s:.0f} s"
    )


def a_host_that_vanishes(cluster: NamespaceCluster, run: RunWatch) -> None:
    """A host loses its power: the run goes on with the others."""
    whole = run.rate(12)
    done = run.pool("done")
    run.forget()
    cluster.vanish(BY_HAND)
    since = time.monotonic()
    run.until(lambda: run.live() == 2, PATIENCE_S, "notice of the host that is gone")
    noticed_s = time.monotonic() - since
    run.until(lambda: run.pool("done") > done + 60 * 64, PATIENCE_S, "answers from the host that is left")
    gap_s = run.longest_gap()
    assert BY_HAND not in cluster.raylets()
    print(
        f"a host vanished: its actors were given up after {noticed_s:.0f} s, {gap_s:.0f} s at most without an answer; "
        f"{run.rate(12).poses_per_s:.0f} poses/s on one host against {whole.poses_per_s:.0f} on two"
    )


def actor_pids(cluster, address: str) -> set[int]:
    return {actor.pid for actor in cluster.actors("RenderActor")[address]}


def test_a_killed_test_leaves_no_host_behind(tmp_path):
    """The hosts end with the process that started them, however it ends; the next test removes their folder."""
    require_programs()
    if reason := asked_for_loopback() or namespaces.why_not():
        pytest.skip(reason)
    program = (
        "import time; from tests.cluster.namespaces import *; cluster = NamespaceCluster(); cluster._write_files()\n"
        "for address in (LAPTOP, HEAD): cluster._start_host(NAMES[address], address)\n"
        "print(cluster.root, flush=True); time.sleep(600)"
    )
    other = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    root = Path(other.stdout.readline().strip())
    names = [process.name() for process in psutil.process_iter() if str(root) in " ".join(command(process))]
    assert "sshd" in names
    other.kill()
    other.wait()
    wait_for(
        lambda: not [p for p in psutil.process_iter() if str(root) in " ".join(command(p))], 20, "end of the hosts"
    )
    StartedCluster().stop()
    assert not root.exists()


def command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline() if process.status() != psutil.STATUS_ZOMBIE else []
    except psutil.Error:
        return []
