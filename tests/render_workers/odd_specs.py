"""Specs of odd workers for Ray's processes: one that loads for long, one whose device has little memory."""

import time
from dataclasses import dataclass

from render_workers.worker import RenderWorker
from tests.fakes import FakeWorker
from tests.render_workers.test_worker import CrampedZBuffer, worker


class _SlowToLoad(FakeWorker):
    def ready(self) -> None:
        time.sleep(self.seconds)
        self.seconds = 0.0


@dataclass(frozen=True)
class SlowToLoad:
    """Loads for so many seconds, then answers at once."""

    seconds: float

    def build(self) -> FakeWorker:
        return _SlowToLoad(self.seconds)


@dataclass(frozen=True)
class Cramped:
    """A real worker on a device whose memory holds `room` images."""

    room: int

    def build(self) -> RenderWorker:
        return worker(CrampedZBuffer(self.room), micro_batch=256)
