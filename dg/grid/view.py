"""What a grid shows: a live list of the running cells on a terminal, one plain line an event otherwise."""

import re
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

QUIET_S = 60.0  # without a terminal: a line at least so often


@dataclass(frozen=True)
class CellProgress:
    """A cell under way.

    Attributes:
        share: share of its work done in these seconds, in [0, 1]; 0 where that is not known.
        last: last line of its log.
    """

    kind: Hashable
    seconds: float
    share: float = 0.0
    name: str = ""
    last: str = ""


class Pace:
    """How long cells take, by kind where that is known, and so how long the rest will."""

    def __init__(self) -> None:
        self.seconds: dict[Hashable, list[float]] = defaultdict(list)

    def add(self, kind: Hashable, seconds: float) -> None:
        """Record how many seconds a finished cell of this kind took."""
        self.seconds[kind].append(seconds)

    def expected(self, kind: Hashable) -> float | None:
        """Seconds of one cell: the mean of its kind, else of all kinds; None while nothing is known."""
        if kind in self.seconds:
            return statistics.fmean(self.seconds[kind])
        known = [statistics.fmean(s) for s in self.seconds.values()]
        return statistics.fmean(known) if known else None

    def left_s(self, waiting: Iterable[Hashable], running: Sequence[CellProgress], parallel: int) -> float | None:
        """Seconds until the end; None while nothing is known."""
        guess = Pace()
        guess.seconds.update(self.seconds)
        for cell in running:
            if cell.share > 0 and cell.kind not in self.seconds:
                guess.add(cell.kind, cell.seconds / cell.share)
        ahead = [guess.expected(kind) for kind in waiting]
        whole = [guess.expected(cell.kind) for cell in running]
        if None in ahead or None in whole:
            return None
        rest = [max(0.0, w - cell.seconds) for w, cell in zip(whole, running, strict=True) if w is not None]
        return max([(sum(s for s in ahead if s is not None) + sum(rest)) / parallel, *rest])


def share_done(line: str) -> float:
    """Of a run, by its line `epoch 3/30 ...`; 0 where it says no such thing."""
    found = re.match(r"epoch\s+(\d+)/(\d+)", line)
    return int(found[1]) / max(1, int(found[2])) if found else 0.0


@dataclass
class Counts:
    """Cells by state; all of them: `done + failed + running + left`."""

    done: int = 0
    failed: int = 0
    running: int = 0
    left: int = 0

    def text(self, left_s: float | None) -> str:
        """Return the counts as one line, with the remaining time in seconds `left_s` as ETA where it is known."""
        parts = [f"{self.done}/{self.done + self.failed + self.running + self.left} done"]
        parts += [
            f"{n} {what}" for n, what in ((self.failed, "failed"), (self.running, "running"), (self.left, "left")) if n
        ]
        if left_s and self.running + self.left:
            parts.append(f"ETA {clock(left_s)}")
        return ", ".join(parts)


class GridView:
    """The one place that prints while a grid runs."""

    def __init__(self) -> None:
        wide = None if sys.stdout.isatty() else 160
        self.console = Console(file=sys.stdout, highlight=False, width=wide)
        self.live = Live(console=self.console, auto_refresh=False, transient=True) if self.console.is_terminal else None
        self.last_line = time.monotonic()
        if self.live is not None:
            self.live.start()

    def say(self, text: str) -> None:
        """Print one line of text; square brackets in it are not taken for markup."""
        self.console.print(text, markup=False, soft_wrap=True)
        self.last_line = time.monotonic()

    def tick(self, counts: Counts, left_s: float | None, shown: Sequence[CellProgress]) -> None:
        """Update the live picture on a terminal; elsewhere print one line after a quiet spell."""
        if self.live is not None:
            self.live.update(_picture(counts, left_s, shown), refresh=True)
        elif time.monotonic() - self.last_line > QUIET_S and shown:
            self.say(f"{counts.text(left_s)}: " + "; ".join(f"{s.name} {s.last}".strip() for s in shown))

    def close(self) -> None:
        """End the live picture, if there is one."""
        if self.live is not None:
            self.live.stop()


def _picture(counts: Counts, left_s: float | None, shown: Sequence[CellProgress]) -> Any:  # noqa: ANN401 - rich's renderables
    total = counts.done + counts.failed + counts.running + counts.left
    head = Table.grid(padding=(0, 1))
    head.add_row(ProgressBar(total=total, completed=counts.done + counts.failed, width=20), counts.text(left_s))
    rows = Table.grid(padding=(0, 1))
    for column in ("left", "right", "left"):
        rows.add_column(justify=column, no_wrap=True, overflow="ellipsis")
    for cell in shown:
        rows.add_row(Text(f"  {cell.name}"), Text(clock(cell.seconds)), Text(cell.last))
    return Group(head, rows)


def clock(seconds: float) -> str:
    """`42 s`, `3:05 min`, `2:10 h`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{int(seconds) // 60}:{int(seconds) % 60:02d} min"
    return f"{int(seconds) // 3600}:{int(seconds) % 3600 // 60:02d} h"
