"""Stands in for dg.train in tests: the same words, files and exit codes, and a known error for each d_ref and seed.

FAKE_TRAIN says what it does, or `WHAT@PART`: what the runs do whose folder has PART in its name. Without a driver
it ends as dg.train_child does.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

from dg.train_child import end_with_driver

words = dict(word.split("=", 1) for word in sys.argv[1:])
out, seed, d_ref = Path(words["out"].strip("'")), int(words["seed"]), float(words.get("d_ref", "4.5"))
behaviour, _, part = os.environ.get("FAKE_TRAIN", "fine").partition("@")
behaviour = behaviour if part in out.name else "fine"


def write(**summary):
    (out / "summary.json").write_text(json.dumps(summary))


def stop(*_):
    (out / "checkpoint").touch()
    (out / "latest").touch()
    write(interrupted=True)
    sys.exit(130)


with (out / "starts").open("a") as file:
    file.write("x")
if behaviour.startswith("exit"):
    sys.stderr.write("error: the data is gone\n       look there\n")
    sys.exit(int(behaviour[4:]))
if behaviour == "crash":
    raise RuntimeError("out of memory")
if behaviour == "hang" and not (out / "checkpoint").exists():
    signal.signal(signal.SIGINT, stop)
    end_with_driver()
    (out / "ready").touch()
    time.sleep(60)
if behaviour != "silent":
    source, near, wide = 60 + seed + (d_ref - 4.5) ** 2, 90 + seed + (d_ref - 5.5) ** 2, 120.0 + seed
    targets = {"synthetic_near": near, "synthetic_wide": wide}
    write(
        interrupted=False,
        run_id="r",
        wall_s=1.0,
        ledger={"done": 7},
        val={"mpjpe_mm": source},
        results=[
            {"target": n, "selection": s, "mpjpe_mm": v} for n, v in targets.items() for s in ("last", "source_val")
        ],
    )
