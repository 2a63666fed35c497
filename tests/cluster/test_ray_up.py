"""`ray up` with the repository's own cluster.yaml, a training job on it, a node killed in the middle (about 3 minutes).

The nodes are loopback addresses of this machine behind a private sshd. Not shown: partitions of a real network, clocks
that differ, images that are pulled, GPUs.
"""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch

from dg.files.checkpoint import load_file
from tests.cluster.loopback import HEAD, RENDER, TRAINER, LoopbackCluster, missing_programs, wait_for

pytestmark = pytest.mark.cluster
EPOCHS = 32
WORDS = [
    "method=random_rigid", "inputs=xyd", "depth=paced_zbuffer", "data.clips=8", "data.frames=40", "batch_size=64",
    "lifter.width=64", f"epochs={EPOCHS}", f"evaluate_every={EPOCHS}", "device=cpu", "threads=1", "cache=off",
    "tracking.uri=off",
]  # fmt: skip
RENDERED = 640  # poses in an epoch, 10 batches
# 320 batches at 0.3 s are 96 s on one actor: time for Ray to miss a node (about 15 s), to start it again (10 to 20 s)
# and for an actor to load there (10 s). On a busy machine all of it takes longer, and so do the batches.
PAUSE_S = 0.3


@pytest.fixture
def cluster() -> Iterator[LoopbackCluster]:
    if packages := missing_programs():
        reason = f"`ray up` needs `apt-get install {' '.join(packages)}` first"
        if os.environ.get("DG_REQUIRE_CLUSTER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    cluster = LoopbackCluster()
    try:
        yield cluster
    finally:
        cluster.stop()


def train(cluster: LoopbackCluster, out: Path, log: Path, *words: str) -> "subprocess.Popen[bytes]":
    """A run of the nodes' code in one process, without Ray."""
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "dg.train", *WORDS, "pool=local", f"out={out}", *words],
            cwd=log.parent, env=cluster.environment, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip


def submit(cluster: LoopbackCluster, log: Path, *words: str) -> "subprocess.Popen[bytes]":
    """A job on the cluster, as its user would start it; the process follows it to its end."""
    python = cluster.home / "dg/.venv/bin/python"
    ray = str(Path(sys.executable).with_name("ray"))
    command = [str(python), "-m", "dg.train", *WORDS, *words]
    with log.open("wb") as output:
        return subprocess.Popen(
            [ray, "job", "submit", "--address", cluster.address, "--", *command],
            cwd=cluster.root, env=cluster.environment, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(sorted(out.glob("checkpoint-*.pt"))[-1])["method"]["networks"]


def test_a_cluster_comes_up_trains_survives_the_loss_of_a_node_and_leaves_nothing(cluster, tmp_path):
    started: list[subprocess.Popen[bytes]] = []
    log, out = tmp_path / "job.log", cluster.root / "run"
    try:
        cluster.up()
        job = submit(cluster, log, f"depth.pause_s={PAUSE_S}", "render.actors=2", f"out={out}")
        started.append(job)

        def words_of_job() -> str:
            assert job.poll() is None, f"the job ended early:\n{log.read_text()[-5000:]}"
            return log.read_text()

        wait_for(lambda: re.search(r"epoch +2/.* render live [2-9]", words_of_job()), 180, "second epoch on two actors")
        # The same run, undisturbed and unhurried by renders, in one process.
        reference = train(cluster, tmp_path / "reference", tmp_path / "reference.log")
        started.append(reference)

        trainers, renderers = cluster.actors("TrainerActor"), cluster.actors("RenderActor")
        assert set(trainers) == {TRAINER}  # which has the resource of that name
        assert HEAD not in renderers  # it has no CPU to give
        before, raylet = sum(map(len, renderers.values())), cluster.raylets()[RENDER]
        assert renderers[RENDER]
        cluster.note_shared_memory()
        os.kill(raylet.pid, signal.SIGKILL)
        psutil.wait_procs([raylet], timeout=10)

        def full_again() -> bool:
            words_of_job()
            now = cluster.actors("RenderActor")
            return RENDER in now and sum(map(len, now.values())) >= before

        wait_for(full_again, 180, "full pool after the loss of a node")
        assert cluster.raylets()[RENDER].pid != raylet.pid
        assert job.wait(600) == 0, log.read_text()[-5000:]
        assert "succeeded" in log.read_text()
        summary = json.loads((out / "summary.json").read_text())
        assert not summary["interrupted"]
        assert summary["ledger"]["submitted"] == summary["ledger"]["done"] >= EPOCHS * RENDERED
        assert summary["ledger"]["quarantined"] == 0
        assert reference.wait(600) == 0, (tmp_path / "reference.log").read_text()
        expected, found = weights(tmp_path / "reference"), weights(out)
        assert expected.keys() == found.keys()
        assert all(torch.equal(expected[name], found[name]) for name in expected)
    except BaseException:
        cluster.keep_logs(tmp_path)
        raise
    finally:
        cluster.note_shared_memory()
        for process in started:
            process.kill()
            process.wait()
        cluster.stop()
    assert cluster.leftovers() == []
