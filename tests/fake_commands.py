"""The commands of grids and sweeps with `fake_train.py` in the place of dg.train, in this process or another."""

import importlib
import os
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from dg.grid import session as grid_session
from sweeps import session as sweep_session

FAKE_TRAIN = Path(__file__).with_name("fake_train.py")
ROOT = str(FAKE_TRAIN.parents[1])
PROGRAM = (sys.executable, str(FAKE_TRAIN))
QUICK = ["tracking.uri=off", "pool=local", "method=erm", "device=cpu"]


def install(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """For commands that are called in this process, in a folder."""
    monkeypatch.setattr(grid_session, "GridSession", partial(grid_session.GridSession, program=PROGRAM))
    monkeypatch.setattr(sweep_session, "TrialRunner", partial(sweep_session.TrialRunner, program=PROGRAM))
    monkeypatch.setattr(sweep_session, "SweepDriver", partial(sweep_session.SweepDriver, poll_s=0.05))
    monkeypatch.chdir(folder)


def command(module: str, *words: str) -> list[str]:
    """Words for a process of its own."""
    code = f"import sys; sys.path.insert(0, {ROOT!r}); from tests.fake_commands import main; sys.exit(main())"
    return [sys.executable, "-c", code, module, *words]


def main() -> int:
    """Run the command whose module is the first word."""
    install(pytest.MonkeyPatch(), Path(os.curdir))
    module, *words = sys.argv[1:]
    return importlib.import_module(module).main(words)


def wait_for(path: Path, seconds: float = 180) -> None:
    """Until a file is there."""
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, path
        time.sleep(0.02)
