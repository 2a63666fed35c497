"""`dg train` as a process, small enough for tests, and what it is made of while it runs."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import torch

from dg.files.checkpoint import load_file

WORDS = [
    "method=random_rigid", "data.clips=8", "data.frames=40", "batch_size=64", "lifter.width=64", "epochs=12",
    "evaluate_every=12", "device=cpu", "threads=1", "cache=off", "virtual_cameras=1",
    "targets=['synthetic:near?clips=2&frames=20']",
]  # fmt: skip
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "MLFLOW_DISABLE_TELEMETRY": "true"}


def start(
    folder: Path, *words: str, environment: dict[str, str] | None = None, new_group: bool = False
) -> "subprocess.Popen[str]":
    """A run in `folder/run`, with a working directory in `folder`. new_group: in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "dg.train", *WORDS, f"out={folder / 'run'}", *words],
        cwd=folder, env=os.environ | QUIET | (environment or {}), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, preexec_fn=_hears_ctrl_c, process_group=0 if new_group else None,
    )  # fmt: skip


def _hears_ctrl_c() -> None:
    """Also where the tests run in a shell's background, which ignores it for all that it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    newest = sorted((folder / "run").glob("checkpoint-*.pt"))[-1]
    return load_file(newest)["method"]["networks"]


def same_weights(one: Path, other: Path) -> bool:
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def has_checkpoint(folder: Path) -> bool:
    return (folder / "run" / "latest").is_file()


def status_of(folder: Path) -> dict:
    try:
        return json.loads((folder / "run" / "status.json").read_text())
    except FileNotFoundError:
        return {}


def family(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_for(what, seconds: float = 300.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := what():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


def cluster_folder(out: Path) -> Path:
    """The folder of a run's own Ray cluster, as its guardian knows it."""
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "dg.cluster.guardian" in words and str(out) in words:
            return Path(words[4])
    raise AssertionError("the run has no guardian")
