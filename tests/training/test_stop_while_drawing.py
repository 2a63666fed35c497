"""A run is stopped while the depth of a data set is drawn: it ends soon, and goes on as if it had never stopped."""

import signal
import subprocess
import sys
import threading

import pytest

from dg.settings.config import RunInfo
from dg.train import run
from dg.training.run import train
from render_workers.base import RenderInterruptedError
from render_workers.cache import DepthCache
from render_workers.depth import DEPTH_SOURCES
from render_workers.depth.zbuffer import ZBuffer
from tests.cases import mostly_long
from tests.training.test_trainer import last_weights, same, small

PROGRAM = """
import sys
from render_workers.depth import DEPTH_SOURCES
from render_workers.depth.zbuffer import ZBuffer
DEPTH_SOURCES["paced_zbuffer"] = "tests.cluster.paced_zbuffer:PacedZBuffer"
from dg.train import main
sys.exit(main(sys.argv[1:]))
"""


class StoppingZBuffer(ZBuffer):
    """`zbuffer` that asks its run to stop at the portion number `at`."""

    stop, at, portions = threading.Event(), 0, 0

    def estimate(self, zbuffer, rgb, keys):
        cls = type(self)
        cls.portions += 1
        if cls.portions == cls.at:
            cls.stop.set()
        return super().estimate(zbuffer, rgb, keys)


@pytest.fixture
def stopping(monkeypatch):
    """Sets the portion at which the next run is asked to stop; gives its event."""
    monkeypatch.setitem(DEPTH_SOURCES, "stopping", f"{__name__}:StoppingZBuffer")

    def at(portion):
        StoppingZBuffer.stop, StoppingZBuffer.at, StoppingZBuffer.portions = threading.Event(), portion, 0
        return StoppingZBuffer.stop

    return at


WORDS = ["method=random_rigid", "depth=stopping", "render.micro_batch=32", "data.clips=2", "data.frames=24",
         "batch_size=16", "virtual_cameras=0", "targets=['synthetic:near?clips=2&frames=8']", "lifter.width=8",
         "evaluate_every=2", "cache=off"]  # fmt: skip


# Which data set is drawn, counted from 1: the held-out part; with windows the source, which a moved pass follows.
@pytest.mark.parametrize(("frames", "drawn", "portion"), mostly_long([(1, 2, 1), (3, 1, 4)], [(1, 2, 1)]))
def test_a_run_stopped_while_depth_is_drawn_goes_on_as_if_it_had_not_been(tmp_path, stopping, frames, drawn, portion):
    words = [*WORDS, f"frames={frames}"]
    stopping(0)
    whole = small(tmp_path, *words, f"out={tmp_path / 'whole'}")
    expected = run(whole, quiet=True)
    cut = small(tmp_path, *words, f"out={tmp_path / 'cut'}", "resume=auto")
    event, notes = stopping(0), []

    def report(record):
        notes.append(str(record.get("text", "")).startswith("depth of"))
        if notes[-1] and sum(notes) == drawn:
            StoppingZBuffer.at = StoppingZBuffer.portions + portion

    summary = train(cut, RunInfo(cut.out, "off", "cut", ""), report, event)
    assert summary["interrupted"]
    assert summary["ledger"]["submitted"] == summary["ledger"]["done"] < expected["ledger"]["done"]
    stopping(0)
    resumed = run(cut, quiet=True)
    assert resumed["results"] == expected["results"]
    assert resumed["made_of"] == expected["made_of"]
    assert same(last_weights(whole.out), last_weights(cut.out))


def test_whoever_waits_for_another_process_to_draw_hears_the_request_to_stop(tmp_path):
    stop, ended = threading.Event(), []

    def wait():
        with pytest.raises(RenderInterruptedError), DepthCache(tmp_path, "spec").turn("data", stop):
            raise AssertionError("it is another's turn")
        ended.append(True)

    with DepthCache(tmp_path, "spec").turn("data"):
        thread = threading.Thread(target=wait)
        thread.start()
        stop.set()
        thread.join(30)
    assert ended


@pytest.mark.reliability
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_run_whose_depth_source_is_slow(tmp_path, number):
    # Two poses a second: the training poses alone would take minutes.
    words = ["method=erm", "pool=local", "tracking.uri=off", "data.clips=8", "data.frames=40", "batch_size=64",
             "lifter.width=32", "device=cpu", "threads=1", "depth=paced_zbuffer", "depth.pause_s=1",
             "render.micro_batch=2", "cache=off", f"out={tmp_path / 'run'}"]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
    )  # fmt: skip
    while "depth of" not in (line := process.stdout.readline()):
        assert line, process.stderr.read()
    process.send_signal(number)
    out, _ = process.communicate(timeout=600)
    assert process.returncode == 130
    assert "resume=auto" in out
