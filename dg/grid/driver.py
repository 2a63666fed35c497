"""Runs cells as child processes, several at once. Knows neither MLflow nor what a cell is."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar, runtime_checkable

POLL_S = 0.25
Item = TypeVar("Item")


@runtime_checkable
class Child(Protocol):
    """A run under way, such as `dg.grid.child_run.ChildRun`."""

    def poll(self) -> int | None: ...

    def stop(self, at_once: bool = False) -> None: ...


@dataclass(frozen=True)
class Running(Generic[Item]):
    """A cell under way. place: its number among those that run at once. since: on the monotonic clock."""

    item: Item
    child: Child
    place: int
    since: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.since


class GridDriver(Generic[Item]):
    """`run` blocks; `stop` may be called from a signal handler.

    start: begins an item at a place. ended: is told the exit code. tick: is called at every look.
    """

    def __init__(
        self,
        items: Sequence[Item],
        start: Callable[[Item, int], Child],
        ended: Callable[[Running[Item], int], None],
        tick: Callable[[], None],
        parallel: int,
        poll_s: float = POLL_S,
    ) -> None:
        self.waiting = list(items)
        self.running: list[Running[Item]] = []
        self.start, self.ended, self.tick = start, ended, tick
        self.parallel, self.poll_s = parallel, poll_s
        self.stops_asked = 0

    def stop(self) -> None:
        """First call: running cells checkpoint and end. Second call: they are ended at once."""
        self.stops_asked += 1

    def run(self) -> bool:
        """Start, poll, report. True when every cell has ended, False when stopped; nothing is left running."""
        try:
            while not self.stops_asked:
                while self.waiting and len(self.running) < self.parallel:
                    self._launch(self.waiting.pop(0))
                if not self.running:
                    return True
                self._look()
            return False
        finally:
            self._wind_down()

    def _launch(self, item: Item) -> None:
        place = min(set(range(self.parallel)) - {r.place for r in self.running})
        self.running.append(Running(item, self.start(item, place), place))

    def _look(self) -> None:
        for running in list(self.running):
            code = running.child.poll()
            if code is not None:
                self.running.remove(running)
                self.ended(running, code)
        self.tick()
        if self.running:
            time.sleep(self.poll_s)

    def _wind_down(self) -> None:
        asked = 0
        while self.running:
            if asked < max(1, min(self.stops_asked, 2)):
                asked += 1
                for running in self.running:
                    running.child.stop(at_once=asked > 1)
            self._look()
