"""The sweeps' commands with `fake_train.py` in the place of dg.train, here and as processes of their own."""

import sys
import time
from functools import partial
from pathlib import Path

from sweeps import session
from sweeps.study import SweepDriver
from sweeps.trial_runs import TrialRunner

FAKE_TRAIN = Path(__file__).with_name("fake_train.py")
PROGRAM = (sys.executable, str(FAKE_TRAIN))
QUICK = ["tracking.uri=off", "pool=local", "method=erm", "device=cpu"]


def install(monkeypatch, folder):
    """For commands that are called in this process, in a folder."""
    monkeypatch.setattr(session, "TrialRunner", partial(TrialRunner, program=PROGRAM))
    monkeypatch.setattr(session, "SweepDriver", partial(SweepDriver, poll_s=0.05))
    monkeypatch.chdir(folder)


def command(module, *words):
    """Words for a process of its own."""
    code = (
        f"import sys; from functools import partial; import sweeps.session as s; import {module} as command;"
        f"s.TrialRunner = partial(s.TrialRunner, program={PROGRAM!r});"
        "s.SweepDriver = partial(s.SweepDriver, poll_s=0.05);"
        "sys.exit(command.main(sys.argv[1:]))"
    )
    return [sys.executable, "-c", code, *words]


def wait_for(path, seconds=180):
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, path
        time.sleep(0.05)
