"""`python -m tests.bench.quickstart`: the main job as a user starts it: wall time, first batch, memory.

Runs `dg train` in a fresh folder, without a depth cache, and prints one JSON object. Memory is the sum of the
proportional set sizes of the whole process tree, shared pages counted once.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil


def measure(words: list[str]) -> dict[str, float]:
    """Run the main job once and watch it."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "dg.train", "out=run", *words], cwd=folder, stdout=subprocess.DEVNULL
        )
        peak, processes = 0, 0
        while process.poll() is None:
            family = family_of(process.pid)
            peak, processes = max(peak, sum(map(memory_of, family))), max(processes, len(family))
            time.sleep(0.5)
        wall = time.monotonic() - start
        summary = json.loads((Path(folder) / "run" / "summary.json").read_text())
    return {
        "exit_code": process.returncode,
        "wall_s": round(wall, 1),
        "wall_goal_s": 180,
        "first_batch_s": summary["first_batch_s"],
        "first_batch_goal_s": 10,
        "peak_memory_gb": round(peak / 1e9, 2),
        "peak_memory_goal_gb": 4,
        "processes": processes,
        "rendered_poses": summary["ledger"]["done"],
        "waiting_for_depth_share": round(summary["waiting_for_depth_share"], 4),
    }


def family_of(pid: int) -> list[psutil.Process]:
    """A process and its descendants; none once it has gone."""
    try:
        return [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def memory_of(process: psutil.Process) -> int:
    """Proportional set size in bytes, shared pages counted once among those who share them; 0 once it has gone."""
    try:
        return process.memory_full_info().pss
    except (psutil.NoSuchProcess, psutil.AccessDenied, AttributeError):
        return 0


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1:])))
