"""What a run shows: a live bar on a terminal, one plain line an epoch otherwise, and the table at the end."""

import math
import sys
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

SELECTION_LABELS = {
    "last": "last", "source_val": "source val", "virtual_cameras": "virtual cam", "oracle": "oracle",
}  # fmt: skip


class Display:
    """Shows progress records; the one place that prints during a run."""

    def __init__(self) -> None:
        wide = None if sys.stdout.isatty() else 120
        self.console = Console(file=sys.stdout, highlight=False, width=wide)
        self.live = self.console.is_terminal
        self.bar: Progress | None = None
        self.task: Any = None

    def say(self, text: str) -> None:
        """Print one line of text; square brackets in it are not taken for markup."""
        self.console.print(text, markup=False, soft_wrap=True)

    def show(self, record: dict[str, Any]) -> None:
        """One record of the trainer's."""
        kind = record["kind"]
        if kind == "note":
            self.say(f"  {record['text']}")
        elif kind == "start":
            targets = ", ".join(f"{name} {n:,}" for name, n in record["targets"].items())
            resumed = "resumed, " if record["resumed"] else ""
            self.say(f"  {resumed}{record['train']:,} training poses, {record['val']:,} held out; targets: {targets}")
        elif kind == "step" and self.live:
            self._advance(record)
        elif kind == "epoch":
            self._advance(record) if self.live else None
            if record["scores"] or not self.live:
                self.say(_epoch_line(record))

    def _advance(self, record: dict[str, Any]) -> None:
        if self.bar is None:
            columns = (BarColumn(20), TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
            self.bar = Progress(*columns, console=self.console, transient=True)
            self.task = self.bar.add_task("", total=record["total_steps"])
            self.bar.start()
        self.bar.update(self.task, completed=record["lifter_steps"], description=_step_text(record))

    def close(self) -> None:
        """Remove the progress bar, if there is one."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def results(self, results: list[dict[str, Any]]) -> None:
        """The table of a run: a row a target and selection."""
        table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        for column in ("target", "selection", "epoch", "n", "MPJPE", "PA", "N", "PCK@150", "AUC"):
            table.add_column(column, justify="left" if column in ("target", "selection") else "right", no_wrap=True)
        for r in results:
            numbers = [f"{r[k]:.1f}" for k in ("mpjpe_mm", "pa_mpjpe_mm", "n_mpjpe_mm", "pck150", "auc")]
            table.add_row(r["target"], SELECTION_LABELS[r["selection"]], str(r["epoch"]), f"{r['n']:,}", *numbers)
        self.console.print(table)
        self.say("MPJPE, PA, N in mm; oracle: the epoch chosen on the target itself; rendered depth is an oracle too")


def _pool_text(pool: dict[str, float]) -> str:
    """Figures of the pool that are not as they should be; nothing when all is well."""
    missing = pool.get("actors", 0) - pool.get("live", 0)
    told = [f"{pool['live']:.0f} of {pool['actors']:.0f} render actors live"] if missing > 0 else []
    told += [f"{pool[name]:,.0f} poses {name}" for name in ("retried", "quarantined") if pool.get(name)]
    return ", ".join(told)


def _step_text(record: dict[str, Any]) -> str:
    loss = record.get("loss") if "loss" in record else record["losses"].get("loss/lifter")
    shown = "" if loss is None else f"loss {loss:.5f}  "
    return f"step {record['lifter_steps']}/{record['total_steps']}  {shown}{_pool_text(record['pool'])}"


def _epoch_line(record: dict[str, Any]) -> str:
    done = record["lifter_steps"] / record["total_steps"]
    left = max(0.0, record["seconds"] * (1 - done) / max(done, 1e-9))
    loss = record["losses"].get("loss/lifter")
    scores = [
        f"{name.removesuffix('/mpjpe_mm')} {value:.1f} mm"
        for name, value in record["scores"].items()
        if name.endswith("/mpjpe_mm")
    ]
    parts = [
        f"epoch {record['epoch']:>3}/{math.ceil(record['epochs'])}",
        f"step {record['lifter_steps']}",
        *([f"loss {loss:.5f}"] if loss is not None else []),
        *scores,
        f"{_minutes(record['seconds'])} elapsed",
        *([f"ETA {_minutes(left)}"] if left else []),
        _pool_text(record["pool"]),
    ]
    return "  ".join(part for part in parts if part)


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 60 else f"{seconds / 60:.1f} min"
