"""The trainer as an actor: a shell that loads torch and everything else only where it runs, not in the driver.

`pool=local` runs the same shell in the driver's own process.
"""

import os
import socket
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from dg.cluster.guardian import Guardian
from dg.cluster.resources import pool_options
from dg.runs.status_file import DONE, FAILED, INTERRUPTED, Numbers, RunStatus, StatusFile
from dg.settings.config import RunInfo, TrainConfig

if TYPE_CHECKING:
    from dg.tracking import Tracker
    from render_workers.base import RenderPool
    from render_workers.ray_actor import StartedActor


SHORT_S = 15.0  # a pool with too few workers for so long is told of


@runtime_checkable
class KeepsLifter(Protocol):
    """What puts the lifter of a finished run on record (`dg.trained.run_model.RunModel`)."""

    def log(self, tracker: "Tracker", folder: Path, config: TrainConfig, summary: dict[str, Any]) -> str:
        """Return what happened, in words; empty where nothing was wanted."""
        ...

    def tidy(self, folder: Path) -> None:
        """Remove what waited in the run's folder to be sent."""
        ...


class TrainerActor:
    """One run. `run` blocks; the other methods are called meanwhile from other threads.

    Args:
        model: puts the lifter on record at the end.
        guarded: whether another process clears up half-written files if this process is killed.
    """

    def __init__(self, config: TrainConfig, info: RunInfo, model: KeepsLifter, guarded: bool = True) -> None:
        self._config, self._info, self._model, self._guarded = config, info, model, guarded
        self._records: deque[dict[str, Any]] = deque()
        self._stop = threading.Event()
        self._pool: RenderPool | None = None
        self._outage_told = False
        self._status = RunStatus(config, info, self._pool_figures)

    def place(self) -> dict[str, Any]:
        """Answers as soon as the process runs."""
        return {"pid": os.getpid(), "node": socket.gethostname()}

    def run(self, started: "Sequence[StartedActor]" = ()) -> dict[str, Any]:
        """Train; return the summary of the run. Raises as `dg.training.run.train` does.

        Args:
            started: render actors that were started for it; without any it starts them itself.
        """
        folders = run_folders(self._config, self._info)
        guardian = None if self._guarded else Guardian(folders[0], folders=folders[1:])
        if guardian is not None:
            guardian.watch(os.getpid())
        try:
            with StatusFile(self._status, folders[0]):
                return self._run(started)
        finally:
            if guardian is not None:
                guardian.release()

    def _run(self, started: "Sequence[StartedActor]") -> dict[str, Any]:
        try:
            started = started or start_workers(self._config, self._info)
            # Here, not in the constructor: an actor that is loading can be told from one that has no place.
            from dg.training.run import train

            summary = train(self._config, self._info, self._report, self._stop, self._watch, self._keep, started)
            self._model.tidy(Path(self._info.out))
        except BaseException as error:
            self._status.end(FAILED, f"{type(error).__name__}: {error}")
            raise
        self._status.end(INTERRUPTED if summary["interrupted"] else DONE)
        return summary

    def _report(self, record: dict[str, Any]) -> None:
        self._status.note(record)
        self._records.append(record)

    def _keep(self, tracker: "Tracker", summary: dict[str, Any]) -> None:
        told = self._model.log(tracker, Path(self._info.out), self._config, summary)
        if told:
            self._records.append({"kind": "note", "text": told})

    def poll(self) -> list[dict[str, Any]]:
        """Progress records since the last call, and a note once the pool has too few workers for a while."""
        self._note_outage()
        return [self._records.popleft() for _ in range(len(self._records))]

    def stop(self) -> None:
        """Finish the batch in hand, checkpoint, and let `run` return."""
        self._stop.set()

    def status(self) -> dict[str, Any]:
        """What `dg.status` shows."""
        return self._status.snapshot()

    def _note_outage(self) -> None:
        figures, trouble = self._pool_figures()
        # While the first actors start, the pool has no outage to tell of.
        short = figures.get("short_s", 0.0) >= SHORT_S and trouble.startswith("too few render actors")
        if short and not self._outage_told:
            self._records.append({"kind": "note", "text": trouble})
        elif self._outage_told and not short:
            self._records.append({"kind": "note", "text": f"{figures.get('live', 0):.0f} render actors are live again"})
        self._outage_told = short

    def _watch(self, pool: "RenderPool") -> None:
        self._pool = pool

    def _pool_figures(self) -> tuple[Numbers, str]:
        """Numbers of the render pool, and the last error in it."""
        pool = self._pool
        if pool is None:
            return {}, ""
        last_error = getattr(pool, "last_error", None)
        return pool.status() | {"done": pool.ledger.done}, str(last_error() or "") if last_error is not None else ""


def start_workers(config: TrainConfig, info: RunInfo) -> "list[StartedActor]":
    """Start the run's own render actors, if it has any: they load beside the trainer, and not after it."""
    if config.pool != "ray" or not config.draws or config.render.service:
        return []
    from render_workers.ray_actor import start_ahead

    return start_ahead(pool_options(config, info.gpus_per_actor), config.render.rasterizer)


def run_folders(config: TrainConfig, info: RunInfo) -> list[Path]:
    """Folders that a run's trainer writes to, its own first."""
    return [Path(info.out), *([] if config.cache == "off" else [Path(config.cache)])]
