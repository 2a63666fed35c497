"""What a grid and a sweep share: the loop that runs children, its lock, its signals, and the command that resumes.

Knows neither MLflow nor Optuna, nor what a child is.
"""

import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from filelock import FileLock, Timeout

from dg.settings.errors import RESOURCES

POLL_S = 0.25
LOCK = ".driver.lock"
Item = TypeVar("Item")
Result = TypeVar("Result")


class DriverBusyError(RuntimeError):
    """Another driver works on the same grid or study."""

    exit_code = RESOURCES


@dataclass(frozen=True)
class Running(Generic[Item]):
    """A child that runs.

    Attributes:
        place: its number among those that run at once.
        since: when it was started, on the monotonic clock.
    """

    item: Item
    child: Any
    place: int
    since: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Seconds since the child was started."""
        return time.monotonic() - self.since


class Driver(Generic[Item, Result]):
    """Runs children until nothing is left, or until it is told to stop.

    Args:
        take: the next item to run; None while there is none. Is asked whenever a place is free.
        start: begins an item at a place and returns its child, which has `poll() -> Result | None` and
            `stop(at_once)`.
        ended: is told what `poll` returned at last.
        tick: is called at every look.
        parallel: most children at once.
        poll_s: seconds between two looks.
    """

    def __init__(
        self,
        take: Callable[[], Item | None],
        start: Callable[[Item, int], Any],
        ended: Callable[[Running[Item], Result], None],
        tick: Callable[[], None],
        parallel: int,
        poll_s: float = POLL_S,
    ) -> None:
        self.running: list[Running[Item]] = []
        self.take, self.start, self.ended, self.tick = take, start, ended, tick
        self.parallel, self.poll_s = parallel, poll_s
        self.stops_asked = 0
        self.given_up = False

    def stop(self) -> None:
        """First call: what runs checkpoints and ends. Second call: it is ended at once. Safe in a signal handler."""
        self.stops_asked += 1

    def give_up(self) -> None:
        """Start nothing more and end what runs, as at a first stop, because of something that all would meet."""
        self.given_up = True

    def run(self) -> bool:
        """Start, look, report. True when everything has ended, False when stopped; nothing is left running."""
        try:
            while not (self.stops_asked or self.given_up):
                self._fill()
                if not self.running:
                    return True
                self._look()
            return False
        finally:
            self.wind_down()

    def _fill(self) -> None:
        while not self.stops_asked and len(self.running) < self.parallel and (item := self.take()) is not None:
            place = min(set(range(self.parallel)) - {running.place for running in self.running})
            self.running.append(Running(item, self.start(item, place), place))

    def wind_down(self) -> None:
        """Ask what runs to end, and wait for it."""
        asked = 0
        while self.running:
            if asked < max(1, min(self.stops_asked, 2)):
                asked += 1
                for running in self.running:
                    self.ask_to_end(running, at_once=asked > 1)
            self._look()

    def ask_to_end(self, running: Running[Item], at_once: bool) -> None:
        """Ask one child to end.

        Args:
            running: the child and its place.
            at_once: kill it now; else it writes its checkpoint first.
        """
        running.child.stop(at_once)

    def _look(self) -> None:
        for running in list(self.running):
            result = running.child.poll()
            if result is not None:
                self.running.remove(running)
                self.ended(running, result)
        self.tick()
        if self.running:
            time.sleep(self.poll_s)


@contextmanager
def stopped_by_signals(driver: Driver[Any, Any], children: str) -> Iterator[None]:
    """Meanwhile SIGINT and SIGTERM stop the driver.

    Args:
        driver: whose `stop` is called.
        children: what it runs, for the message.
    """

    def caught(number: int, frame: object) -> None:
        again = "ending them now" if driver.stops_asked else f"the running {children} checkpoint; again to stop now"
        sys.stderr.write(f"\nstopping: {again}\n")
        driver.stop()

    before = {s: signal.signal(s, caught) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def lock_folder(folder: Path, what: str) -> FileLock:
    """The folder's lock, which is held until it is released or this process dies, SIGKILL included.

    Args:
        folder: of the grid or of the sweep.
        what: is worked on there, for the message.

    Raises:
        DriverBusyError: another driver holds it.
    """
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise DriverBusyError(f"another driver is at work on {what} in {folder}; wait for it to end") from error
    return lock


def resume_command(program: str, args: Sequence[str], out: str | Path = "") -> str:
    """The command that resumes a grid or a sweep.

    Args:
        program: the command, such as `dg grid`.
        args: those that it was given.
        out: folder that takes the place of an `out=` among them; empty: as they are.
    """
    kept = [arg for arg in args if not (out and arg.startswith("out="))]
    return " ".join([program, *map(shlex.quote, [*kept, *([f"out={out}"] if out else [])])])
