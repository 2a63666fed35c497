"""Stands in for dg.train in tests: the same words, files and exit codes, and a known error for each setting and seed.

FAKE_TRAIN says what it does, or `WHAT@PART`: what the runs do whose folder has PART in its name. FAKE_EPOCH_S makes it
take time; meanwhile it writes its history, and at Ctrl-C a checkpoint, from which it goes on. FAKE_MLFLOW: it keeps a
run in MLflow. Without a driver it ends as dg.grid.train_child does.
"""

import json
import math
import os
import signal
import sys
import time
from pathlib import Path

from dg.grid.train_child import end_with_driver

words = dict(word.split("=", 1) for word in sys.argv[1:])
out, seed = Path(words["out"].strip("'")), int(words["seed"])
d_ref, lr, epochs = float(words.get("d_ref", "4.5")), float(words.get("lr", "1e-3")), int(words.get("epochs", "10"))
behaviour, _, part = os.environ.get("FAKE_TRAIN", "fine").partition("@")
behaviour = behaviour if part in out.name else "fine"
epoch_s = float(os.environ.get("FAKE_EPOCH_S", "0"))
history = out / "history.json"


def write(path, content):
    aside = path.with_suffix(".part")
    aside.write_text(json.dumps(content))
    aside.rename(path)


class Run:
    """The run that a trial keeps in MLflow, as dg.train does."""

    def __init__(self):
        self.client = None
        if not os.environ.get("FAKE_MLFLOW") or "tracking.parent_run_id" not in words:
            return
        from mlflow import MlflowClient

        self.client = MlflowClient(words["tracking.uri"].strip("'"))
        tags = {"mlflow.parentRunId": words["tracking.parent_run_id"].strip("'")}
        tags |= {"mlflow.dg.child": words["tracking.child"].strip("'")}
        experiment = self.client.get_experiment_by_name(words["tracking.experiment"].strip("'"))
        name = words["tracking.run_name"].strip("'")
        self.run_id = self.client.create_run(experiment.experiment_id, tags=tags, run_name=name).info.run_id

    def end(self, status):
        if self.client is not None:
            self.client.set_terminated(self.run_id, status)


def stop(*_):
    (out / "checkpoint").touch()
    (out / "latest").touch()
    write(out / "summary.json", {"interrupted": True})
    run.end("KILLED")
    sys.exit(130)


def scores(epoch):
    """MPJPE after so many epochs: on the source, near and wide."""
    behind = 40 * 0.5**epoch + 4 * (math.log10(lr) + 3) ** 2
    return 60 + seed + (d_ref - 4.5) ** 2 + behind, 90 + seed + (d_ref - 5.5) ** 2, 120.0 + seed


def figures(mpjpe):
    return {"mpjpe_mm": mpjpe, "pa_mpjpe_mm": 0.7 * mpjpe, "pck150": 160 - mpjpe}


with (out / "starts").open("a") as file:
    file.write("x")
if behaviour.startswith("exit"):
    sys.stderr.write("error: the data is gone\n       look there\n")
    sys.exit(int(behaviour[4:]))
if behaviour == "crash":
    raise RuntimeError("out of memory")
signal.signal(signal.SIGINT, stop)
end_with_driver()
run = Run()
if behaviour == "hang" and not (out / "checkpoint").exists():
    (out / "ready").touch()
    time.sleep(60)
records = json.loads(history.read_text()) if (out / "checkpoint").exists() and history.exists() else []
for epoch in range(len(records) + 1, epochs + 1):
    time.sleep(60 if behaviour == "linger" and lr > 0.05 and epoch == 4 else epoch_s)
    source, near, wide = scores(epoch)
    targets = {"synthetic_near": figures(near), "synthetic_wide": figures(wide)}
    records.append({"epoch": epoch, "val": figures(source), "targets": targets})
    if epoch_s or epoch == epochs:
        write(history, records)
        (out / "ready").touch()
if behaviour != "silent":
    source, near, wide = scores(math.inf)
    last = {"synthetic_near": near, "synthetic_wide": wide}
    write(
        out / "summary.json",
        {
            "interrupted": False,
            "run_id": "r",
            "wall_s": 10 * d_ref,
            "waiting_for_depth_share": 0.25,
            "ledger": {"done": 7},
            "val": figures(source),
            "results": [
                {"target": n, "selection": s, **figures(v)} for n, v in last.items() for s in ("last", "source_val")
            ],
        },
    )
run.end("FINISHED")
