"""`zbuffer` that takes its time, as a network on a GPU would: a run lasts long enough for what is to happen in it."""

import time
from dataclasses import dataclass
from pathlib import Path

from render_workers.base import DepthSource


class PacedZBuffer(DepthSource):
    """pause_s: of each portion. until: a file; where it exists there are no pauses any more."""

    oracle = True

    @dataclass(frozen=True)
    class Options:
        pause_s: float = 0.0
        until: str = ""

    def __init__(self, options=Options()):
        self.options = options

    def estimate(self, zbuffer, rgb, keys):
        if not (self.options.until and Path(self.options.until).exists()):
            time.sleep(self.options.pause_s)
        return zbuffer
