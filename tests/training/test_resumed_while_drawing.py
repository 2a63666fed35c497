"""A run goes on from a checkpoint while its workers already draw the source anew: no pose is counted wrongly."""

import threading
from dataclasses import replace

import pytest

from dg.settings.config import RunInfo
from dg.training import run as training_run
from dg.training.trainer import Trainer
from render_workers.base import Ledger
from render_workers.depth import DEPTH_SOURCES
from render_workers.depth.zbuffer import ZBuffer
from tests.train_process import wait_for
from tests.training.test_trainer import small

WORDS = [
    "method=random_rigid", "depth=held", "data.clips=2", "data.frames=24", "batch_size=16", "virtual_cameras=0",
    "targets=['synthetic:near?clips=2&frames=8']", "lifter.width=8", "evaluate_every=3", "epochs=3", "cache=off",
]  # fmt: skip
WAIT_S = 60


class HeldZBuffer(ZBuffer):
    """`zbuffer` that gives no answer before it is let go."""

    let_go = threading.Event()

    def estimate(self, zbuffer, rgb, keys):
        assert len(zbuffer) == 1 or self.let_go.wait(WAIT_S)  # of one pose: a worker gets ready
        return super().estimate(zbuffer, rgb, keys)


@pytest.fixture
def held(monkeypatch):
    """Depth is held back until the checkpoint has been loaded."""
    monkeypatch.setitem(DEPTH_SOURCES, "held", f"{__name__}:HeldZBuffer")
    # As a pool of other processes has it; this one works in the thread that waits for it.
    monkeypatch.setattr(training_run, "_begin_drawing", lambda live, config, train: live.begin(train, train.poses))
    HeldZBuffer.let_go = threading.Event()
    load = Trainer.load

    def load_meanwhile(trainer, state):
        ledger = trainer.live_depth.pool.ledger
        wait_for(lambda: ledger.submitted > ledger.done == 0, WAIT_S)  # the source is on its way
        load(trainer, state)
        HeldZBuffer.let_go.set()

    monkeypatch.setattr(Trainer, "load", load_meanwhile)


def session(config, epochs):
    """One session of a run, stopped after so many epochs."""
    stop = threading.Event()

    def report(record):
        if record["kind"] == "epoch" and record["epoch"] == epochs:
            stop.set()

    return training_run.train(config, RunInfo(config.out, "off", "run", ""), report, stop)


def test_a_run_that_goes_on_while_its_source_is_drawn_anew_counts_every_pose(tmp_path, held):
    config = small(tmp_path, *WORDS)
    HeldZBuffer.let_go.set()
    first = session(config, 1)
    assert first["interrupted"]
    HeldZBuffer.let_go.clear()
    second = session(replace(config, resume="auto"), 3)
    ledger = Ledger(**second["ledger"])
    ledger.check()
    assert ledger.done > first["ledger"]["done"], "earlier sessions are in it"
