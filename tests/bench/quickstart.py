"""`python -m tests.bench.quickstart`: the main job as a user starts it: wall time, first batch, memory.

Runs `python -m dg.train` in a fresh folder, without a depth cache, and prints one JSON object. Memory is the sum of the
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
            tree = _tree(process.pid)
            peak, processes = max(peak, sum(tree)), max(processes, len(tree))
            time.sleep(0.5)
        wall = time.monotonic() - start
        summary = json.loads((Path(folder) / "run" / "summary.json").read_text())
    return {
        "exit_code": process.returncode,
        "wall_s": round(wall, 1),
        "wall_goal_s": 300,
        "first_batch_s": summary["first_batch_s"],
        "first_batch_goal_s": 15,
        "peak_memory_gb": round(peak / 1e9, 2),
        "peak_memory_goal_gb": 4,
        "processes": processes,
        "rendered_poses": summary["ledger"]["done"],
        "waiting_for_depth_share": round(summary["waiting_for_depth_share"], 4),
    }


def _tree(pid: int) -> list[int]:
    """Proportional set sizes of a process and its descendants, bytes."""
    sizes = []
    try:
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
    for member in family:
        try:
            sizes.append(member.memory_full_info().pss)
        except (psutil.NoSuchProcess, psutil.AccessDenied, AttributeError):
            continue
    return sizes


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1:])))
