"""`zbuffer` that takes its time, as a network on a GPU would: a run lasts long enough for what is to happen in it."""

import time
from dataclasses import dataclass

from render_workers.base import DepthSource


class PacedZBuffer(DepthSource):
    oracle = True

    @dataclass(frozen=True)
    class Options:
        pause_s: float = 0.0

    def __init__(self, options=Options()):
        self.options = options

    def estimate(self, zbuffer, rgb, keys):
        time.sleep(self.options.pause_s)
        return zbuffer
