"""`dg latency`: what is timed is the stage, and nothing but the stages that are asked for is loaded."""

import time

import pytest

from dg.settings.errors import ConfigError
from dg.trained.latency import WARM_UP, LatencyOptions, Timing, main, measure, timed
from render_workers.depth import DEPTH_SOURCES
from tests.images.image_depth_source import PLACE


def test_runs_that_warm_up_do_not_count():
    calls = []

    def call():
        calls.append(1)
        time.sleep(0.05 if len(calls) <= WARM_UP else 0.002)

    found = timed(call, 4)
    assert len(calls) == WARM_UP + 4
    assert len(found) == 4
    assert min(found) >= 2.0


def test_median_and_the_slow_end_are_of_the_runs():
    timing = Timing("depth", "x", tuple(float(n) for n in range(1, 12)))
    assert (timing.median, timing.slow) == (6.0, 11.0)


def test_the_stages_that_are_asked_for_are_printed_with_their_sum(capsys, monkeypatch):
    monkeypatch.setitem(DEPTH_SOURCES, "brightness", PLACE)
    given = ["stages=[depth,descriptor,lifter]", "depth=brightness", "lifter=simple_baseline", "lifter.width=8"]
    assert main([*given, "frames=1", "repeat=2", "device=cpu"]) == 0
    text = capsys.readouterr().out
    assert all(word in text for word in ("| depth ", "| descriptor ", "| lifter ", "| together ", "brightness"))
    assert "detector" not in text


@pytest.mark.parametrize(
    ("given", "message"), [({"frames": 2}, "frames must be odd"), ({"lifter": {"name": "nothing"}}, "unknown lifter")]
)
def test_what_the_lifter_cannot_be_is_refused(given, message):
    with pytest.raises(ConfigError, match=message):
        measure(LatencyOptions(stages=("lifter",), **given))
