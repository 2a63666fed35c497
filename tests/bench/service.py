"""`python -m tests.bench.service`: three trials at once on one render service, against a pool for each trial.

Runs the same search twice, `service=auto` and `service=off`, each in a fresh folder with a fresh cache, and prints one
JSON object a mode: wall time, processor time, peak memory, render workers at most, and the objective of every trial,
which must be the same in both. `--actors` is the pool's size, the service's and each trial's.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import optuna
import psutil

from tests.bench.quickstart import family_of, memory_of

SMALL = [
    "method=random_rigid", "inputs=xyd", "data.clips=12", "data.frames=40", "batch_size=64", "lifter.width=64",
    "epochs=12", "evaluate_every=12", "device=cpu", "threads=1",
]  # fmt: skip


def measure(mode: str, trials: int, at_once: int, actors: int, extra: list[str]) -> dict[str, object]:
    """Run the search once in one mode and watch its whole process tree."""
    with tempfile.TemporaryDirectory() as folder:
        words = [
            "space.lr=log:1e-3..8e-3", f"trials={trials}", f"concurrency={at_once}", f"service={mode}", "pruner=off",
            "study=bench", "out=sweep", "tracking.uri=sqlite:///mlflow.db", "cache=cache", f"render.actors={actors}",
        ]  # fmt: skip
        start = time.monotonic()
        log = Path(folder) / "log"
        with log.open("w") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "sweeps", "search", *SMALL, *words, *extra], cwd=folder, stdout=out,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
            peak = workers = processes = 0
            used: dict[int, float] = {}
            try:
                while process.poll() is None:
                    family = family_of(process.pid)
                    peak, processes = max(peak, sum(map(memory_of, family))), max(processes, len(family))
                    workers = max(workers, sum("RenderActor" in _title(member) for member in family))
                    used |= {member.pid: seconds for member in family if (seconds := _processor_s(member))}
                    time.sleep(1.0)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGTERM)
                    process.wait()
        if process.returncode:
            raise SystemExit(f"the search with service={mode} ended with code {process.returncode}:\n{log.read_text()}")
        wall = time.monotonic() - start
        study = optuna.load_study(study_name="bench", storage=f"sqlite:///{folder}/study.db")
        found = {str(trial.params): trial.values for trial in study.trials}
    return {
        "service": mode,
        "wall_s": round(wall, 1),
        "processor_s": round(sum(used.values()), 1),
        "peak_memory_gb": round(peak / 1e9, 2),
        "processes": processes,
        "render_workers": workers,
        "objective_by_trial": found,
    }


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _processor_s(process: psutil.Process) -> float:
    """Up to now; what a process uses after the last look is lost, a second at most."""
    try:
        return sum(process.cpu_times()[:2])
    except psutil.Error:
        return 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=4)
    parser.add_argument("--at-once", type=int, default=3)
    parser.add_argument("--actors", type=int, default=2)
    options, extra = parser.parse_known_args()
    modes = [measure(mode, options.trials, options.at_once, options.actors, extra) for mode in ("auto", "off")]
    for figures in modes:
        print(json.dumps(figures))
    same = modes[0]["objective_by_trial"] == modes[1]["objective_by_trial"]
    print(json.dumps({"same_objectives": same}))


if __name__ == "__main__":
    main()
